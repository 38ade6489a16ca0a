package flow_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/flow"
)

const (
	kindWhole uint8 = 0x70
	kindPart  uint8 = 0x71
)

// TestFramesOfAnyLengthPass sends frames of any length through a stream with little credit.
func TestFramesOfAnyLengthPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "echo"})
		route := link.Route{Service: "echo", Name: "frames", Kind: link.KindChannel}
		sizes := []int{0, 1, flow.MinFrame, flow.MinFrame + 1, 3 * flow.MinFrame, 1 << 20}
		link.HostOf(node).Handle(route, func(_ context.Context, st *link.Stream) error {
			_, credit := st.Credit()
			for i, n := range sizes {
				moved := 0
				body := bytes.Repeat([]byte{byte(i)}, n)
				if err := send(st, flow.FrameFor(credit), body, func() { moved++ }); err != nil {
					return err
				}
				if want := max(n-1, 0) / flow.FrameFor(credit); moved != want {
					t.Errorf("%d bytes went in %d parts, want %d", n, moved, want)
				}
			}
			return nil
		})
		mesh.Start(node)
		client := mesh.Node(link.Config{})
		const credit = 2 * flow.MinFrame
		st, err := link.HostOf(client).Open(t.Context(), route, link.StreamCredit(flow.Frames, credit))
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		grants, joiner := flow.Credit{Stream: st, Credit: credit}, flow.Joiner{Most: 1 << 20}
		for i := 0; i < len(sizes); {
			f, err := st.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Body) > flow.MinFrame {
				t.Errorf("a frame of %d bytes", len(f.Body))
			}
			if err := grants.Read(f); err != nil {
				t.Fatal(err)
			}
			if f.Kind == kindPart {
				if err := joiner.Part(f.Body); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if got := joiner.Whole(f.Body); !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, sizes[i])) {
				t.Errorf("frame %d has %d bytes, want %d", i, len(got), sizes[i])
			}
			i++
		}
	})
}

func TestPartsHaveABound(t *testing.T) {
	j := flow.Joiner{Most: 10}
	if err := j.Part(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := j.Part(make([]byte, 1)); !errors.Is(err, link.ResourceExhausted) {
		t.Errorf("one more: %v", err)
	}
}

// TestStreamsShareTheCreditOfTheirConnection opens as many streams as are allowed, and checks that
// each gets credit, and none more than the one before.
func TestStreamsShareTheCreditOfTheirConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "echo"})
		route := link.Route{Service: "echo", Name: "wait", Kind: link.KindChannel}
		link.HostOf(node).Handle(route, func(_ context.Context, st *link.Stream) error {
			// Recv returns when the caller has closed the stream.
			_, _ = st.Recv()
			return nil
		})
		mesh.Start(node)
		client := mesh.Node(link.Config{})
		shares := flow.SharesOf(client)
		if flow.SharesOf(client) != shares {
			t.Error("a node has more than one")
		}
		id := node.Instance()
		last := 1 << 30
		var open []*link.Stream
		for i := range flow.MaxStreams {
			st, credit, err := shares.Open(t.Context(), client, route, id)
			if err != nil || credit > last || credit < 2*flow.MinFrame {
				t.Fatalf("stream %d: credit %d after %d, %v", i, credit, last, err)
			}
			last = credit
			open = append(open, st)
		}
		if _, _, err := shares.Open(t.Context(), client, route, id); !errors.Is(err, link.ResourceExhausted) {
			t.Errorf("one more: %v", err)
		}
		for _, st := range open {
			st.Close()
			shares.Leave(id)
		}
		st, credit, err := shares.Open(t.Context(), client, route, id)
		if err != nil || credit != 1<<20 {
			t.Errorf("when the others are closed: credit %d, %v", credit, err)
		} else {
			st.Close()
		}
	})
}

// send sends body in parts of most bytes, and calls moved after each but the last.
func send(st *link.Stream, most int, body []byte, moved func()) error {
	for ; len(body) > most; body = body[most:] {
		if err := st.Send(link.Frame{Kind: kindPart, Credited: true, Body: body[:most]}); err != nil {
			return err
		}
		moved()
	}
	return st.Send(link.Frame{Kind: kindWhole, Credited: true, Body: body})
}
