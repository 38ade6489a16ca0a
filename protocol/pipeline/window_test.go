package pipeline_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/varint"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

var prints = pipeline.NewStage[order, string]("mailer", "print")

// printer starts a worker with two slots, whose results need several parts if the credit is little.
// A task ends when there is a token in done.
func printer(t *testing.T, mesh *linktest.Mesh, done chan struct{}) {
	t.Helper()
	node := mesh.Node(link.Config{Service: "mailer"})
	pipeline.Pull(node, prints, func(context.Context, order) (string, error) {
		<-done
		return strings.Repeat("x", 3*little/2-100), nil
	}, pipeline.Concurrency(2))
	mesh.Start(node)
}

// asking opens a stream as a producer that asks about the tasks in held.
func asking(t *testing.T, client *link.Node, queue string, held ...uint64) *link.Stream {
	t.Helper()
	st, err := link.HostOf(client).Open(t.Context(), prints.Route(), link.StreamCredit(1000, little))
	if err != nil {
		t.Fatal(err)
	}
	f, err := frame.Encode(frame.KindHello, frame.Hello{Queue: queue, Held: held})
	if err == nil {
		err = st.Send(f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// give sends tasks with these numbers.
func give(t *testing.T, st *link.Stream, seqs ...uint64) {
	t.Helper()
	body := frame.Body{Payload: []byte{0xa0}}
	var b []byte
	for _, seq := range seqs {
		rec := frame.Task{Seq: seq, Delivery: 1, Attempt: 1, Left: -1, Start: -1, Body: body.Append(nil)}
		b = rec.Append(b)
	}
	if err := st.Send(link.Frame{Kind: frame.KindTasks, Credited: true, Body: b}); err != nil {
		t.Fatal(err)
	}
}

// want reports a backlog of many tasks.
func want(t *testing.T, st *link.Stream) {
	t.Helper()
	if err := st.Send(link.Frame{Kind: frame.KindBacklog, Body: varint.Append(varint.Append(nil, 100), 0)}); err != nil {
		t.Fatal(err)
	}
}

// listen returns the frames of a stream as they arrive, and gives no credit back.
func listen(st *link.Stream) <-chan link.Frame {
	all := make(chan link.Frame, 1000)
	go func() {
		defer close(all)
		for {
			f, err := st.Recv()
			if err != nil {
				return
			}
			all <- f
		}
	}()
	return all
}

// got returns the kinds of the frames that have arrived, and the tasks of the last WINDOW among them.
func got(all <-chan link.Frame) (kinds []uint8, window uint64) {
	synctest.Wait()
	for {
		select {
		case f, ok := <-all:
			if !ok {
				return kinds, window
			}
			if kinds = append(kinds, f.Kind); f.Kind == frame.KindWindow {
				window, _, _ = varint.Cut(f.Body)
			}
		default:
			return kinds, window
		}
	}
}

// TestTheWindowThatIsToldLastHolds has the window change while outcomes that need many frames are sent,
// which were taken together with an earlier window.
func TestTheWindowThatIsToldLastHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		done := make(chan struct{}, 2)
		printer(t, mesh, done)
		client := mesh.Node(link.Config{})
		one := asking(t, client, "one")
		frames := listen(one)
		sleep(time.Second)
		if _, window := got(frames); window != 2 {
			t.Fatalf("the window is %d at first, want 2", window)
		}
		give(t, one, 1, 2)
		done <- struct{}{}
		// The last frame of the first outcome waits for credit.
		sleep(time.Second)
		other := asking(t, client, "other")
		want(t, other)
		sleep(time.Second)
		done <- struct{}{}
		sleep(time.Second)
		if kinds, _ := got(frames); slices.Contains(kinds, frame.KindOutcomes) {
			t.Fatalf("frames %#x: the first outcome does not wait", kinds)
		}
		if err := one.Grant(1, little/2); err != nil {
			t.Fatal(err)
		}
		// The worker takes the window and the second outcome together.
		sleep(time.Second)
		other.Close()
		sleep(time.Second)
		if err := one.Grant(100, 1<<20); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		if kinds, window := got(frames); window != 2 || !slices.Contains(kinds, frame.KindOutcomes) {
			t.Errorf("the window that was told last is %d when the other has gone, want 2; frames %#x", window, kinds)
		}
	})
}

// TestTheFirstWindowEndsWhatWasDoneBefore checks that the first window comes after the outcomes that a
// producer asks about. A producer that has come back relies on that, and gives the other tasks to other
// workers.
func TestTheFirstWindowEndsWhatWasDoneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		done := make(chan struct{})
		close(done)
		printer(t, mesh, done)
		client := mesh.Node(link.Config{})
		st := asking(t, client, "q")
		frames := listen(st)
		give(t, st, 1, 2)
		if err := st.Grant(100, 1<<20); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		if kinds, _ := got(frames); !slices.Contains(kinds, frame.KindOutcomes) {
			t.Fatalf("frames %#x: nothing is done", kinds)
		}
		st.Close()
		st = asking(t, client, "q", 1, 2)
		frames = listen(st)
		sleep(time.Second)
		// This changes the window.
		want(t, asking(t, client, "other"))
		sleep(time.Second)
		early, _ := got(frames)
		if err := st.Grant(100, 1<<20); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		late, window := got(frames)
		if slices.Contains(early, frame.KindWindow) || slices.Contains(early, frame.KindOutcomes) || !slices.Contains(early, frame.KindPart) {
			t.Errorf("frames %#x before outcomes are whole", early)
		}
		last := 0
		for i, kind := range late {
			if kind == frame.KindOutcomes {
				last = i
			}
		}
		if at := slices.Index(late, frame.KindWindow); at < last || window == 0 {
			t.Errorf("frames %#x: the first window, of %d, comes before the last outcome", late, window)
		}
	})
}
