package discovery

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"

	"github.com/linkmesh/link/internal/bounds"
)

// crockford is the alphabet of ULIDs: it sorts like the values it encodes and avoids look-alikes.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ulidLen is the length of a ULID as text: 128 bits at 5 bits per character, rounded up.
const ulidLen = 26

// NewInstanceID returns a new ID for an instance of service: the name, a dash and a ULID, which is
// 48 bits of milliseconds and 80 random bits. IDs of one service sort by creation time, to the
// millisecond. The result has at most 128 bytes; a name that is too long is truncated.
func NewInstanceID(service string) string {
	if limit := bounds.MaxID - ulidLen - 1; len(service) > limit {
		service = service[:limit]
	}
	// Base32 pads at the end, a ULID at the front. Shift the 128 bits right by two within 130 bits,
	// so that the text sorts like the number.
	var id [17]byte
	var ulid [16]byte
	binary.BigEndian.PutUint64(ulid[:8], uint64(time.Now().UnixMilli())<<16)
	// crypto/rand.Read never fails.
	_, _ = rand.Read(ulid[6:])
	for i, b := range ulid {
		id[i] |= b >> 2
		id[i+1] |= b << 6
	}
	text := base32.NewEncoding(crockford).WithPadding(base32.NoPadding).EncodeToString(id[:])
	return service + "-" + text[:ulidLen]
}
