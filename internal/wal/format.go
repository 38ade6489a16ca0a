package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Sizes and flags of the format that the package comment defines.
const (
	segmentMagic      = "LINKWAL\x01"
	segmentHeaderSize = 24
	recordHeaderSize  = 24
	originSize        = 16

	flagEnd  = 1
	flagCopy = 2
	flagMark = 4
	flagsAll = flagEnd | flagCopy | flagMark

	segmentSuffix = ".wal"
	nextName      = "next.tmp"
	lockName      = "lock"
)

// castagnoli returns the CRC-32C table, which the standard library builds once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func checksum(b []byte) uint32 { return crc32.Update(0, castagnoli(), b) }

// header is the first part of a record.
type header struct {
	bodySum uint32
	length  uint32
	kind    byte
	flags   byte
	id      uint64
}

func (h header) size() int64 { return recordHeaderSize + int64(h.length) }

// origin says what a copy is a copy of. first is the position at which the record was first written;
// from is the position of the record that was copied.
type origin struct {
	first Position
	from  Position
}

// recordSize is the size on disk of a record that is not a copy.
func recordSize(body int) int64 { return recordHeaderSize + int64(body) }

func segmentName(base Position) string { return fmt.Sprintf("%016x%s", uint64(base), segmentSuffix) }

// parseSegmentName returns the position in the name of a segment, and false for any other name.
func parseSegmentName(name string) (Position, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	base, err := strconv.ParseUint(digits, 16, 64)
	return Position(base), err == nil && segmentName(Position(base)) == name
}

func segmentHeader(base Position) []byte {
	b := binary.LittleEndian.AppendUint64([]byte(segmentMagic), uint64(base))
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// appendRecord appends the encoding of r at the position at. The origin is used for copies only.
func appendRecord(b []byte, at Position, r Record, flags byte, o origin) []byte {
	start := len(b)
	b = append(b, make([]byte, recordHeaderSize)...)
	if flags&flagCopy != 0 {
		b = binary.LittleEndian.AppendUint64(b, uint64(o.first))
		b = binary.LittleEndian.AppendUint64(b, uint64(o.from))
	}
	b = append(b, r.Body...)
	h, body := b[start:start+recordHeaderSize], b[start+recordHeaderSize:]
	binary.LittleEndian.PutUint32(h[4:], checksum(body))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(body)))
	h[12], h[13] = r.Kind, flags
	binary.LittleEndian.PutUint64(h[16:], r.ID)
	binary.LittleEndian.PutUint32(h, headerSum(h, at))
	return b
}

// headerSum returns the checksum of the header h of a record at the position at.
func headerSum(h []byte, at Position) uint32 {
	return crc32.Update(uint32(at)^uint32(at>>32), castagnoli(), h[4:recordHeaderSize])
}

// parseHeader parses the header of a record at the position at. The length in it must be trusted
// only if the checksums are equal.
func parseHeader(b []byte, at Position) (h header, expected, actual uint32) {
	h = header{
		bodySum: binary.LittleEndian.Uint32(b[4:]),
		length:  binary.LittleEndian.Uint32(b[8:]),
		kind:    b[12],
		flags:   b[13],
		id:      binary.LittleEndian.Uint64(b[16:]),
	}
	return h, binary.LittleEndian.Uint32(b), headerSum(b, at)
}

// plausible reports whether a header may start at b. It is a cheap check before the checksum is
// computed.
func plausible(b []byte) bool {
	return b[13]&^flagsAll == 0 && b[14] == 0 && b[15] == 0
}
