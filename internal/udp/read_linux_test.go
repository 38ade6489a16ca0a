package udp

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control returns a control message.
func control(level, kind int32, body []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(body)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(body)))
	copy(b[unix.CmsgSpace(0):], body)
	return b
}

func TestSegmentSizeIsCutOut(t *testing.T) {
	tos := control(unix.IPPROTO_IP, unix.IP_TOS, []byte{2})
	size := control(unix.IPPROTO_UDP, unix.UDP_GRO, binary.NativeEndian.AppendUint32(nil, 1452))
	for _, test := range []struct {
		name     string
		oob      []byte
		want     []byte
		wantSize int
	}{
		{"nothing", nil, nil, 0},
		{"no size", tos, tos, 0},
		{"only the size", size, nil, 1452},
		{"size first", append(bytes.Clone(size), tos...), tos, 1452},
		{"size last", append(bytes.Clone(tos), size...), tos, 1452},
		{"cut off", tos[:5], tos[:5], 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			oob := append(bytes.Clone(test.oob), make([]byte, 16)...)
			n, got := cutSegmentSize(oob, len(test.oob))
			if !bytes.Equal(oob[:n], test.want) || got != test.wantSize {
				t.Errorf("left % x, size %d, want % x and %d", oob[:n], got, test.want, test.wantSize)
			}
		})
	}
}

// TestWhatQUICReadsOfADatagramIsKept checks that only whole control messages that quic-go reads are kept.
func TestWhatQUICReadsOfADatagramIsKept(t *testing.T) {
	tos := control(unix.IPPROTO_IP, unix.IP_TOS, []byte{2})
	to := control(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, unix.SizeofInet4Pktinfo))
	class := control(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, make([]byte, 4))
	to6 := control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, unix.SizeofInet6Pktinfo))
	ttl := control(unix.IPPROTO_IP, unix.IP_TTL, make([]byte, 4))
	for _, test := range []struct {
		name      string
		oob, want []byte
	}{
		{"nothing", nil, nil},
		{"all", slices.Concat(ttl, tos, ttl, to, class, ttl, to6, ttl), slices.Concat(tos, to, class, to6)},
		{"others alone", slices.Concat(ttl, ttl), nil},
		{"ECN without a value", slices.Concat(to, control(unix.IPPROTO_IP, unix.IP_TOS, nil)), to},
		{"an address that is cut off", slices.Concat(tos, control(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, 5))), tos},
		{"a header that is cut off", slices.Concat(tos, to[:7]), tos},
	} {
		oob := slices.Clone(test.oob)
		if n := keepForQUIC(oob, len(oob)); !bytes.Equal(oob[:n], test.want) {
			t.Errorf("%s: kept % x, want % x", test.name, oob[:n], test.want)
		}
	}
}
