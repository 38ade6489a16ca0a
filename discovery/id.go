package discovery

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// crockford is the alphabet of ULIDs: it sorts as its values do and has no look-alikes.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ulidLen is the length of a ULID in text: 128 bits at 5 bits a character, rounded up.
const ulidLen = 26

// NewInstanceID returns a new ID for an instance of service: the name, a dash and a ULID, which is
// 48 bits of milliseconds and 80 random bits. IDs of one service sort by the time they were made,
// to the millisecond. The result has at most MaxID bytes; a name too long for that is cut.
func NewInstanceID(service string) string {
	if limit := MaxID - ulidLen - 1; len(service) > limit {
		service = service[:limit]
	}
	// Base32 spends its spare bits at the end and a ULID at the front, so the 128 bits are
	// shifted right by two within 130: the text then sorts as the number does.
	var id [17]byte
	var ulid [16]byte
	binary.BigEndian.PutUint64(ulid[:8], uint64(time.Now().UnixMilli())<<16)
	_, _ = rand.Read(ulid[6:]) // documented never to fail
	for i, b := range ulid {
		id[i] |= b >> 2
		id[i+1] |= b << 6
	}
	text := base32.NewEncoding(crockford).WithPadding(base32.NoPadding).EncodeToString(id[:])
	return service + "-" + text[:ulidLen]
}
