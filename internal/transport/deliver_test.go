package transport

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

// TestDeliverTellsBothSidesOfTheEnd checks that who serves a stream is told of the END of its peer, who has opened it of
// the STATUS, and both after all frames.
func TestDeliverTellsBothSidesOfTheEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		// hear returns what a stream delivers until it ends.
		hear := func(s *Stream) string {
			var all []string
			ended := make(chan struct{})
			s.Deliver(func(f Frame) { all = append(all, string(f.Body)) }, func() { close(ended) })
			<-ended
			if _, err := s.Recv(t.Context()); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %v, want io.EOF", err)
			}
			return strings.Join(all, " ")
		}
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		server.handler.onStream("stream", func(s *Stream) {
			heard := hear(s)
			for body := range strings.FieldsSeq(heard) {
				if err := s.Send(s.Canceled(), plain("re:"+body)); err != nil {
					t.Errorf("sending: %v", err)
				}
			}
			s.Finish(&wire.Status{Message: heard})
		})
		s := client.connect(server)
		st := openStream(t, s, wire.Credit{})
		for _, body := range []string{"a", "b", "c"} {
			if err := st.Send(t.Context(), plain(body)); err != nil {
				t.Fatal(err)
			}
		}
		if err := st.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if got := hear(st); got != "re:a re:b re:c" {
			t.Errorf("the answers are %q", got)
		}
		if status := st.Status(); status == nil || status.Message != "a b c" {
			t.Errorf("STATUS: %+v", status)
		}
		settle()
		if used := server.pools.bytes.Used() + client.pools.bytes.Used(); used != 0 {
			t.Errorf("%d bytes of frames are counted when none waits", used)
		}
	})
}

// TestWhatCameBeforeDeliverIsGrantedAgainInItsPlace checks that frames that arrived before Deliver, and are granted again
// while Deliver passes them on, count as credit once and not twice.
func TestWhatCameBeforeDeliverIsGrantedAgainInItsPlace(t *testing.T) {
	inEach(t, func(w *world) {
		const frames, size = 4, 1000
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		server.handler.onStream("stream", func(s *Stream) {
			for range frames {
				if err := s.Send(s.Canceled(), credited(strings.Repeat("x", size))); err != nil {
					t.Errorf("sending: %v", err)
				}
			}
			<-s.Canceled().Done()
		})
		st := openStream(t, client.connect(server), wire.Credit{Messages: frames, Bytes: frames * size})
		settle()
		got := 0
		st.Deliver(func(f Frame) {
			got++
			if err := st.Grant(wire.Credit{Messages: 1, Bytes: uint64(len(f.Body))}); err != nil {
				t.Error(err)
			}
		}, func() {})
		st.mu.Lock()
		owed, reserved := st.owedLocked(), st.grant.reserved
		st.mu.Unlock()
		if got != frames || owed != frames*size || reserved != frames*size {
			t.Errorf("%d frames were delivered; %d bytes count as credit and %d are reserved, want %d", got, owed, reserved, frames*size)
		}
		st.Cancel(wire.CodeCanceled)
	})
}
