package transport

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/wire"
)

// pieces is a stream that returns its bytes in pieces. Each piece is one byte longer than its entry in
// sizes, which is repeated. Without sizes a read returns as much as it has room for.
type pieces struct {
	b     []byte
	sizes []byte
	next  int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	size := len(p.b)
	if len(p.sizes) > 0 {
		size = int(p.sizes[p.next%len(p.sizes)])%700 + 1
		p.next++
	}
	n := copy(b, p.b[:min(size, len(p.b))])
	p.b = p.b[n:]
	if len(p.b) == 0 && p.next%2 == 0 {
		// quic-go returns io.EOF with the last bytes, too.
		return n, io.EOF
	}
	return n, nil
}

func (*pieces) SetReadDeadline(time.Time) error { return nil }

type readFrame struct {
	header wire.FrameHeader
	body   string
}

// readFrames reads frames until src ends. It skips the bodies of frames of an even kind.
func readFrames(src byteStream) (out []readFrame, err error) {
	limits := Limits{MaxMessage: 1 << 16}.withDefaults()
	bodies := share.NewPool(share.Config{Limit: 1 << 20, Floor: 1 << 20}).Holder(share.Key{})
	f := newFrameReader(src, &limits, bodies, true)
	defer func() {
		f.release()
		if used := bodies.Held(); used != 0 {
			err = errors.Join(err, errors.New("bytes in flight at the end"))
		}
	}()
	for {
		h, err := f.header()
		if err != nil {
			return out, err
		}
		if h.Length > 1<<16 {
			return out, errors.New("too large")
		}
		if h.Kind%2 == 0 {
			if err := f.skip(h.Length); err != nil {
				return out, err
			}
			out = append(out, readFrame{header: h})
			continue
		}
		body, err := f.body(h.Length)
		if err != nil {
			return out, err
		}
		out = append(out, readFrame{h, string(body)})
	}
}

// FuzzFramesDoNotDependOnPackets checks that the frames read do not depend on the pieces in which their
// bytes arrive.
func FuzzFramesDoNotDependOnPackets(f *testing.F) {
	all := join(
		frame(1, 4, "headers"), frame(3, 0, string(bytes.Repeat([]byte("m"), readBuffer+9))), frame(2, 0, string(bytes.Repeat([]byte("s"), 300))),
		frame(5, 0, ""), frame(7, 0, string(bytes.Repeat([]byte("e"), readBuffer))),
	)
	f.Add(all, []byte{0})
	f.Add(all, []byte{255, 3, 77})
	f.Add(all[:2000], []byte{9})
	f.Add([]byte{0xff, 0xff, 0xff}, []byte{0})
	f.Add(wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: 1, Length: wire.MaxVarint}), []byte{0})
	f.Fuzz(func(t *testing.T, stream, sizes []byte) {
		want, wantErr := readFrames(&pieces{b: stream})
		got, gotErr := readFrames(&pieces{b: stream, sizes: sizes})
		if !slices.Equal(got, want) {
			t.Errorf("in one piece there are %d frames, in pieces %d", len(want), len(got))
		}
		if (wantErr == nil) != (gotErr == nil) || wantErr != nil && wantErr.Error() != gotErr.Error() {
			t.Errorf("in one piece the end is %v, in pieces %v", wantErr, gotErr)
		}
	})
}

func TestBuffersHoldWhatWasAskedFor(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 4097, 1 << 15, 1<<15 + 1, 1 << 16, 1<<20 + 3, 64 << 20} {
		b := GetBuffer(n)
		if len(b) != 0 || cap(b) < n {
			t.Errorf("buffer for %d bytes has length %d and capacity %d", n, len(b), cap(b))
		}
		PutBuffer(append(b, "left over"...)[:0])
	}
	buffers.mu.Lock()
	defer buffers.mu.Unlock()
	if buffers.size > maxKeeping || len(buffers.kept) > maxKept {
		t.Errorf("%d buffers of %d bytes are kept", len(buffers.kept), buffers.size)
	}
}

// TestBodiesThatAreOwnedSurviveTheNextFrame reads frames with lengths around the two thresholds: where a
// body takes a buffer of its own, and where own copies it out of that buffer.
func TestBodiesThatAreOwnedSurviveTheNextFrame(t *testing.T) {
	lengths := []int{0, 1, readBuffer - 1, readBuffer + 1, 40 << 10, 60 << 10, 64 << 10, 100 << 10, 33 << 10, 60 << 10}
	var sent []byte
	for i, n := range lengths {
		sent = wire.AppendFrameHeader(sent, wire.FrameHeader{Kind: wire.KindData, Length: uint64(n)})
		sent = append(sent, bytes.Repeat([]byte{byte(i + 1)}, n)...)
	}
	limits := Limits{}.withDefaults()
	bodies := share.NewPool(share.Config{Limit: 1 << 20, Floor: 1 << 20}).Holder(share.Key{})
	f := newFrameReader(&pieces{b: sent}, &limits, bodies, true)
	var got [][]byte
	for range lengths {
		h, err := f.header()
		if err != nil {
			t.Fatal(err)
		}
		body, err := f.body(h.Length)
		if err != nil {
			t.Fatal(err)
		}
		own := f.own(body)
		if waste := cap(own) - len(own); waste > max(len(own)/4, 64) {
			t.Errorf("a body of %d bytes holds %d", len(own), cap(own))
		}
		got = append(got, own)
	}
	f.release()
	for i, n := range lengths {
		if !bytes.Equal(got[i], bytes.Repeat([]byte{byte(i + 1)}, n)) {
			t.Errorf("body %d of %d bytes has changed", i, n)
		}
	}
	if used := bodies.Held(); used != 0 {
		t.Errorf("%d bytes are in flight at the end", used)
	}
}
