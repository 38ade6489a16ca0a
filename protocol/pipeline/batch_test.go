package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestEachTaskOfABatchHasItsOwnAnswer answers the tasks of a batch in all ways, with a handler that returns an
// error and one that does not.
func TestEachTaskOfABatchHasItsOwnAnswer(t *testing.T) {
	stage := pipeline.NewStage[int, string]("printer", "print")
	// jam is the task that is not answered; its cause depends on what the handler returns.
	const jam = 5
	for cause, returned := range map[string]error{"each task of a stage with results needs Item.Ack": nil, "a paper jam": errors.New("a paper jam")} {
		want := []struct{ result, cause string }{
			{"printed", ""},
			{"", "no paper"},
			{"", "no cause was given"},
			{"", "unreadable"},
			{"", "the limit is 4194304"},
			jam: {"", cause},
			{"", "second thoughts"},
			{"in the end", ""},
		}
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			node := mesh.Node(link.Config{Service: "printer"})
			pipeline.PullBatch(node, stage, func(_ context.Context, batch []*pipeline.Item[int, string]) error {
				if len(batch) != len(want) {
					t.Errorf("a batch of %d, want %d", len(batch), len(want))
				}
				for _, item := range batch {
					switch item.Value {
					case 0:
						item.Ack("printed")
					case 1:
						item.Nack(errors.New("no paper"))
					case 2:
						item.Nack(nil)
					case 3:
						item.Nack(pipeline.Reject(errors.New("unreadable")))
					case 4:
						item.Ack(strings.Repeat("x", 5<<20))
					case 6:
						item.Ack("printed")
						item.Nack(errors.New("second thoughts"))
					case 7:
						item.Nack(errors.New("no paper"))
						item.Ack("in the end")
					}
				}
				return returned
			}, pipeline.Batch(len(want), time.Minute), pipeline.Concurrency(1))
			mesh.Start(node)
			p, err := pipeline.NewProducer(mesh.Node(link.Config{}), stage, pipeline.Attempts(1))
			if err != nil {
				t.Fatal(err)
			}
			futures, err := p.EnqueueAll(t.Context(), []int{0, 1, 2, 3, 4, jam, 6, 7})
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range futures {
				got, err := f.Wait(t.Context())
				if got != want[i].result || (err == nil) != (want[i].cause == "") {
					t.Errorf("task %d: %q, %v", i, got, err)
				}
				if o := f.Outcome(); !strings.Contains(o.Cause, want[i].cause) || o.Attempts != 1 {
					t.Errorf("task %d: %+v, want the cause %q", i, o, want[i].cause)
				}
			}
			if _, err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// grenade is a task that panics when it is decoded, if it is live.
type grenade struct{ live bool }

func (g grenade) MarshalText() ([]byte, error) {
	if g.live {
		return []byte("live"), nil
	}
	return []byte("spent"), nil
}

func (g *grenade) UnmarshalText(text []byte) error {
	if string(text) == "live" {
		panic("boom") //nolint:forbidigo // what is tested
	}
	return nil
}

// TestATaskThatPanicsWhenItIsDecodedHarmsNoOtherOfItsBatch checks that the user's code for decoding, too, cannot end a worker.
func TestATaskThatPanicsWhenItIsDecodedHarmsNoOtherOfItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		stage := pipeline.NewStage[grenade, pipeline.None]("store", "grenades")
		node := mesh.Node(link.Config{Service: "store"})
		pipeline.PullBatch(node, stage, func(context.Context, []*pipeline.Item[grenade, pipeline.None]) error { return nil }, pipeline.Batch(2, time.Second))
		mesh.Start(node)
		p, err := pipeline.NewProducer(mesh.Node(link.Config{}), stage, pipeline.Attempts(1))
		if err != nil {
			t.Fatal(err)
		}
		futures, err := p.EnqueueAll(t.Context(), []grenade{{live: true}, {}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := futures[0].Wait(t.Context()); err == nil || !strings.Contains(futures[0].Outcome().Cause, "boom") {
			t.Errorf("the live one: %v, %+v", err, futures[0].Outcome())
		}
		if _, err := futures[1].Wait(t.Context()); err != nil {
			t.Errorf("the spent one: %v", err)
		}
		if _, err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}
