package pipeline_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/varint"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// TestATaskThatIsTakenBesidePartsGoesBeforeTheNext checks that a task that is taken while another one
// is sent in parts goes before the next part, which waits for credit.
func TestATaskThatIsTakenBesidePartsGoesBeforeTheNext(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		want []uint8
	}{
		"before a part":     {100 << 10, []uint8{frame.KindPart, frame.KindPart, frame.KindPart, frame.KindBeside, frame.KindPart}},
		"before the last":   {14 << 10, []uint8{frame.KindPart, frame.KindPart, frame.KindPart, frame.KindBeside, frame.KindTasks}},
		"not after the end": {10 << 10, []uint8{frame.KindPart, frame.KindPart, frame.KindTasks, frame.KindTasks}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var frames <-chan link.Frame
				goOn := make(chan struct{})
				hostileTo(t, mesh, little, func(ctx context.Context, st *link.Stream) error {
					if err := grant(st, 10); err != nil {
						return err
					}
					frames = listen(st)
					<-goOn
					if err := st.Grant(1000, 1<<20); err != nil {
						return err
					}
					<-ctx.Done()
					return nil
				})
				p := producer(t, mesh.Node(link.Config{}))
				if _, err := p.Enqueue(t.Context(), orderOf(c.size)); err != nil {
					t.Fatal(err)
				}
				// The rest of the task waits for credit then.
				sleep(time.Second)
				enqueue(t, p, 1)
				sleep(time.Second)
				close(goOn)
				sleep(time.Second)
				kinds, _ := got(frames)
				kinds = slices.DeleteFunc(kinds, func(k uint8) bool {
					return k != frame.KindPart && k != frame.KindBeside && k != frame.KindTasks
				})
				if len(kinds) < len(c.want) || !slices.Equal(kinds[:len(c.want)], c.want) {
					t.Errorf("frames %#x, want %#x", kinds[:min(len(kinds), 10)], c.want)
				}
			})
		})
	}
}

// TestATaskThatComesInPartsIsAmongThoseThatWait checks that the backlog counts a task that is sent in
// parts until it has arrived, so that the worker keeps room for it.
func TestATaskThatComesInPartsIsAmongThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var said []uint64
		over := make(chan struct{})
		hostileTo(t, mesh, little, func(_ context.Context, st *link.Stream) error {
			parts := 0
			return slowly(st, time.Second, func(f link.Frame) bool {
				switch f.Kind {
				case frame.KindBacklog:
					n, _, _ := varint.Cut(f.Body)
					if said = append(said, n); len(said) == 1 {
						if err := grant(st, 1); err != nil {
							t.Error(err)
						}
					}
				case frame.KindPart:
					parts++
				case frame.KindTasks:
					if parts == 0 {
						t.Error("it came whole")
					}
					close(over)
					return false
				}
				return true
			})
		})
		if _, err := producer(t, mesh.Node(link.Config{})).Enqueue(t.Context(), orderOf(100<<10)); err != nil {
			t.Fatal(err)
		}
		<-over
		if !slices.Equal(said, []uint64{1}) {
			t.Errorf("the producer said that %v tasks wait, want that one does, until it has come", said)
		}
	})
}
