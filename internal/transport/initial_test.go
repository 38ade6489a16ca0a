package transport

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/quic-go/quic-go/quicvarint"
)

// initials makes the Initial packets of one connection. Anybody can do so, because their keys are derived
// from id, the connection ID (RFC 9001, section 5.2).
type initials struct {
	id     [8]byte
	seal   cipher.AEAD
	iv     []byte
	hide   cipher.Block
	number uint32
}

func newInitials(tb testing.TB, id uint64) *initials {
	tb.Helper()
	p := &initials{}
	binary.BigEndian.PutUint64(p.id[:], id)
	salt := []byte{0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a}
	must := func(b []byte, err error) []byte {
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	expand := func(secret []byte, label string, n int) []byte {
		info := append([]byte{0, byte(n), byte(len("tls13 ") + len(label))}, "tls13 "+label...)
		return must(hkdf.Expand(sha256.New, secret, string(append(info, 0)), n))
	}
	secret := expand(must(hkdf.Extract(sha256.New, p.id[:], salt)), "client in", sha256.Size)
	p.iv = expand(secret, "quic iv", 12)
	var err error
	if p.hide, err = aes.NewCipher(expand(secret, "quic hp", 16)); err != nil {
		tb.Fatal(err)
	}
	block, err := aes.NewCipher(expand(secret, "quic key", 16))
	if err != nil {
		tb.Fatal(err)
	}
	if p.seal, err = cipher.NewGCM(block); err != nil {
		tb.Fatal(err)
	}
	return p
}

// next returns the next packet. It holds frames, and padding up to a length of size bytes.
func (p *initials) next(size int, frames []byte) []byte {
	b := append([]byte{0xc3, 0, 0, 0, 1, 8}, p.id[:]...)
	// The source connection ID and the token are empty.
	b = append(b, 0, 0)
	b = quicvarint.AppendWithLen(b, uint64(size-len(b)-2), 2)
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, p.number)
	nonce := append([]byte(nil), p.iv...)
	for i := range 4 {
		nonce[8+i] ^= b[at+i]
	}
	p.number++
	plain := append(frames, make([]byte, size-len(b)-len(frames)-p.seal.Overhead())...)
	b = p.seal.Seal(b, nonce, plain, b)
	var mask [aes.BlockSize]byte
	p.hide.Encrypt(mask[:], b[at+4:])
	b[0] ^= mask[0] & 0xf
	for i := range 4 {
		b[at+i] ^= mask[1+i]
	}
	return b
}

// cryptoBytes appends n CRYPTO frames of one byte each, at every other offset from first on.
func cryptoBytes(b []byte, first, n int) []byte {
	for i := range n {
		b = append(b, 0x06)
		b = quicvarint.AppendWithLen(b, uint64(first+2*i), 2)
		b = append(b, 1, 0)
	}
	return b
}
