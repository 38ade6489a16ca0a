package link_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
)

// TestDeliverPassesFramesInOrder has a stream deliver what arrived before and what arrives later, and checks that
// nothing is missing, and that the end comes once, after all frames, with its reason from Recv.
func TestDeliverPassesFramesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var sent atomic.Int32
		_, client := serveStream(mesh, link.Config{}, count(1000, &sent))
		s := open(t, client, link.StreamCredit(10, 10*8))
		if f, err := s.Recv(); err != nil || binary.BigEndian.Uint64(f.Body) != 1 {
			t.Fatalf("the first frame: %v", err)
		}
		// The others that there is credit for wait now.
		sleep(time.Second)
		last := uint64(1)
		ended := make(chan struct{})
		s.Deliver(func(f link.Frame) {
			if got := binary.BigEndian.Uint64(f.Body); got != last+1 || !f.Credited || f.Kind != frameNumber {
				t.Errorf("number %d came after %d", got, last)
			}
			last++
			if last%5 == 0 {
				if err := s.Grant(5, 5*8); err != nil {
					t.Error(err)
				}
			}
		}, func() { close(ended) })
		<-ended
		if last != 1000 {
			t.Errorf("the stream ended after number %d", last)
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %v, want io.EOF", err)
		}
	})
}

// TestWhatWasDeliveredCanBeGrantedAgain has other streams take the credit of the connection while the frames of one
// were delivered and not granted again. It expects that these keep their room.
func TestWhatWasDeliveredCanBeGrantedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, frames = 1 << 20, 4
		mesh := linktest.NewMesh(t)
		_, client := serveStream(mesh, link.Config{}, func(ctx context.Context, s *link.Stream) error {
			for range 2 * frames {
				if err := s.Send(link.Frame{Kind: frameText, Credited: true, Body: make([]byte, size)}); err != nil {
					return err
				}
			}
			<-ctx.Done()
			return ctx.Err()
		})
		credit := link.StreamCredit(frames, frames*size)
		s := open(t, client, credit)
		var got atomic.Int32
		s.Deliver(func(link.Frame) { got.Add(1) }, func() {})
		sleep(time.Second)
		if n := got.Load(); n != frames {
			t.Fatalf("%d frames were delivered, want %d", n, frames)
		}
		others := 0
		for ; ; others++ {
			other, err := link.HostOf(client).Open(t.Context(), counterRoute, credit)
			if err != nil {
				if !errors.Is(err, link.ResourceExhausted) {
					t.Fatal(err)
				}
				break
			}
			defer other.Close()
		}
		if others == 0 {
			t.Error("no other stream had credit, which proves nothing")
		}
		if err := s.Grant(frames, frames*size); err != nil {
			t.Errorf("what was delivered could not be granted again: %v", err)
		}
		// The frames of the other streams are on their way, too.
		sleep(time.Minute)
		if n := got.Load(); n != 2*frames {
			t.Errorf("%d frames were delivered, want %d", n, 2*frames)
		}
	})
}
