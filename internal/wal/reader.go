package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// readAhead is how much of a segment is read at once.
const readAhead = 256 << 10

// entry is a record in a segment. Its Body is valid until the next call of the reader.
type entry struct {
	Record
	offset int64
	size   int64
	flags  byte
	// from is set for copies only: the position of the record that was copied.
	from Position
}

func (e *entry) mark() bool { return e.flags&flagMark != 0 }

// recordError says what is wrong with the bytes at an offset of a segment.
type recordError struct {
	offset           int64
	reason           string
	expected, actual uint64
}

func (e *recordError) Error() string { return fmt.Sprintf("offset %d: %s", e.offset, e.reason) }

func (e *recordError) damage(file string) *DamageError {
	return &DamageError{File: file, Offset: e.offset, Reason: e.reason, Expected: e.expected, Actual: e.actual}
}

// reader reads the records of one segment. It allocates only for lengths that are within the file
// and whose checksum is right.
type reader struct {
	file io.ReaderAt
	base Position
	size int64
	// offset is where the next record begins.
	offset int64

	// buf holds the bytes of the file from offset start on.
	buf   []byte
	start int64
}

// header checks the header of the segment and moves past it.
func (r *reader) header() error {
	if r.size < segmentHeaderSize {
		return &recordError{0, "the file is shorter than its header", segmentHeaderSize, uint64(r.size)}
	}
	b, err := r.window(0, segmentHeaderSize)
	if err != nil {
		return err
	}
	if got := string(b[:len(segmentMagic)]); got != segmentMagic {
		return &recordError{0, "not a segment of this version", binary.BigEndian.Uint64([]byte(segmentMagic)), binary.BigEndian.Uint64(b)}
	}
	if want, got := binary.LittleEndian.Uint32(b[20:]), checksum(b[:20]); want != got {
		return &recordError{0, "checksum of the segment's header", uint64(want), uint64(got)}
	}
	if got := binary.LittleEndian.Uint64(b[8:]); got != uint64(r.base) {
		return &recordError{0, "position in the segment's header differs from its name", uint64(r.base), got}
	}
	r.offset = segmentHeaderSize
	return nil
}

// next reads the next record into e. The error is io.EOF at the end of the file, a *recordError, or
// an error from reading the file.
func (r *reader) next(e *entry) error {
	if r.offset == r.size {
		return io.EOF
	}
	if r.size-r.offset < recordHeaderSize {
		return &recordError{r.offset, "the file ends within a record's header", recordHeaderSize, uint64(r.size - r.offset)}
	}
	b, err := r.window(r.offset, recordHeaderSize)
	if err != nil {
		return err
	}
	h, want, got := parseHeader(b, r.base+Position(r.offset))
	if want != got {
		return &recordError{r.offset, "checksum of a record's header", uint64(want), uint64(got)}
	}
	if r.size-r.offset < h.size() {
		return &recordError{r.offset, "the file ends within a record", uint64(h.size()), uint64(r.size - r.offset)}
	}
	if !plausible(b) || h.flags&flagCopy != 0 && h.length < originSize {
		return &recordError{r.offset, "a record of an unknown form", 0, uint64(h.flags)}
	}
	if b, err = r.window(r.offset, h.size()); err != nil {
		return err
	}
	body := b[recordHeaderSize:]
	if got := checksum(body); got != h.bodySum {
		return &recordError{r.offset, "checksum of a record's body", uint64(h.bodySum), uint64(got)}
	}
	*e = entry{offset: r.offset, size: h.size(), flags: h.flags}
	e.Kind, e.ID, e.End = h.kind, h.id, h.flags&flagEnd != 0
	e.Pos = r.base + Position(r.offset)
	if h.flags&flagCopy != 0 {
		e.Pos = Position(binary.LittleEndian.Uint64(body))
		e.from = Position(binary.LittleEndian.Uint64(body[8:]))
		body = body[originSize:]
	}
	e.Body = body
	r.offset += e.size
	return nil
}

// seek moves to the first whole record after the bad one at offset. It returns false if there is
// none.
func (r *reader) seek(offset int64) (bool, error) {
	for at := offset + 1; r.size-at >= recordHeaderSize; at++ {
		b, err := r.window(at, recordHeaderSize)
		if err != nil {
			return false, err
		}
		if !plausible(b) {
			continue
		}
		if _, want, got := parseHeader(b, r.base+Position(at)); want != got {
			continue
		}
		r.offset = at
		var (
			e   entry
			bad *recordError
		)
		switch err := r.next(&e); {
		case err == nil:
			r.offset = at
			return true, nil
		case !errors.As(err, &bad):
			return false, err
		}
	}
	return false, nil
}

// window returns n bytes of the file from offset on. The caller has checked that the file is that long.
func (r *reader) window(offset, n int64) ([]byte, error) {
	if offset < r.start || offset+n > r.start+int64(len(r.buf)) {
		want := min(max(n, readAhead), r.size-offset)
		if int64(cap(r.buf)) < want {
			r.buf = make([]byte, want)
		}
		r.buf, r.start = r.buf[:want], offset
		if got, err := r.file.ReadAt(r.buf, offset); int64(got) < want {
			r.buf = r.buf[:0]
			// At EOF the file has shrunk since its size was read.
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("read %d bytes at %d: %w", want, offset, err)
		}
	}
	return r.buf[offset-r.start : offset-r.start+n], nil
}
