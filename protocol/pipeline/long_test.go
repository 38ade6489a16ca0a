package pipeline_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

func TestTimesOfCenturies(t *testing.T) {
	const centuries = time.Duration(math.MaxInt64)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var done tally
		worker(t, mesh, func(ctx context.Context, o order) error {
			pipeline.Extend(ctx, centuries)
			sleep(time.Second)
			done.add(o.ID)
			return ctx.Err()
		}, pipeline.MaxRun(centuries))
		p := producer(t, mesh.Node(link.Config{}))
		for name, opt := range map[string]pipeline.PushOption{
			"TTL":      pipeline.TTL(centuries),
			"deadline": pipeline.Deadline(time.Now().AddDate(1000, 0, 0)),
		} {
			if _, err := p.Push(t.Context(), order{ID: name}, opt); err != nil || done.count(name) != 1 {
				t.Errorf("%s: %v, done %d times", name, err, done.count(name))
			}
		}
		f := enqueue(t, p, 1, pipeline.Delay(centuries))[0]
		sleep(race.Fewer(time.Hour, 5*time.Minute))
		if o := f.Outcome(); o.End != pipeline.EndOpen {
			t.Errorf("a task that is to begin in centuries: %+v", o)
		}
		f = enqueue(t, p, 1, pipeline.Deadline(time.Unix(-1, 0)))[0]
		sleep(time.Second)
		if o := f.Outcome(); o.End != pipeline.EndExpired {
			t.Errorf("a task with a deadline before 1970: %+v", o)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker(t, mesh, func(ctx context.Context, _ order) error {
			pipeline.Extend(ctx, centuries)
			// This takes longer than MaxRun, which is a minute.
			sleep(race.Fewer(time.Hour, 5*time.Minute))
			return ctx.Err()
		}, pipeline.MaxRun(time.Minute))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		if _, err := producer(t, mesh.Node(link.Config{})).Push(ctx, order{}); err != nil {
			t.Errorf("a handler that has extended its time by centuries: %v", err)
		}
	})
}
