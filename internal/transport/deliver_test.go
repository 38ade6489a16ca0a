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
