package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestTheSystemClockIsSet checks that setting the system clock does not affect the tasks of a queue.
func TestTheSystemClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(fmt.Sprint(by), func(t *testing.T) {
			dir := folder(t)
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				var runs atomic.Int64
				serve := func(ctx context.Context, o order) error {
					n := runs.Add(1)
					switch {
					case o.ID == "fails" && n == 1:
						return errors.New("once")
					case o.ID == "hangs", o.ID == "is lost" && n == 1:
						<-ctx.Done()
						return ctx.Err()
					}
					return nil
				}
				victim := worker(t, mesh, serve, pipeline.SetBackPull(-by), pipeline.MaxRun(2*time.Minute))
				p := producer(t, mesh.Node(link.Config{}), pipeline.SetBack(by), pipeline.Durable(dir))
				for _, c := range []struct {
					id          string
					least, most time.Duration
					want        error
					opts        []pipeline.PushOption
				}{
					{"is done", 0, time.Second, nil, []pipeline.PushOption{pipeline.TTL(time.Minute), pipeline.Deadline(time.Now().Add(time.Minute))}},
					{"is delayed", 10 * time.Second, 11 * time.Second, nil, []pipeline.PushOption{pipeline.Delay(10 * time.Second)}},
					{"fails", 700 * time.Millisecond, 2 * time.Second, nil, nil},
					{"hangs", 9 * time.Second, 11 * time.Second, link.DeadlineExceeded, []pipeline.PushOption{pipeline.Deadline(time.Now().Add(21 * time.Second))}},
					{"is never begun", 5 * time.Second, 6 * time.Second, link.DeadlineExceeded, []pipeline.PushOption{pipeline.Delay(time.Hour), pipeline.TTL(5 * time.Second)}},
				} {
					runs.Store(0)
					began := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					_, err := p.Push(ctx, order{ID: c.id}, c.opts...)
					cancel()
					if d := time.Since(began); !errors.Is(err, c.want) || d < c.least || d > c.most {
						t.Errorf("a task that %s: %v after %v, want %v after %v to %v", c.id, err, d, c.want, c.least, c.most)
					}
				}
				runs.Store(0)
				f, err := p.Enqueue(t.Context(), order{ID: "is lost"})
				if err != nil {
					t.Fatal(err)
				}
				sleep(time.Second)
				began := time.Now()
				mesh.Kill(victim)
				worker(t, mesh, serve, pipeline.SetBackPull(-by))
				if _, err := f.Wait(t.Context()); err != nil || time.Since(began) > 30*time.Second {
					t.Errorf("a task whose worker was killed: %v after %v", err, time.Since(began))
				}
			})
		})
	}
}
