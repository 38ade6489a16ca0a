package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// headers returns n headers of size bytes each.
func headers(n, size int) []pipeline.PushOption {
	var opts []pipeline.PushOption
	for range n {
		opts = append(opts, pipeline.Header("h", strings.Repeat("x", size-1)))
	}
	return opts
}

// TestOptionsOfATaskOutOfRangeAreRefused checks that each option is taken at its limit and refused beyond
// it, with an error that names the option, the value and the limit.
func TestOptionsOfATaskOutOfRangeAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := producer(t, linktest.NewMesh(t).Node(link.Config{}))
		most, beyond := strings.Repeat("x", 255), strings.Repeat("x", 256)
		for _, tt := range []struct {
			most, beyond []pipeline.PushOption
			says         string
		}{
			{[]pipeline.PushOption{pipeline.Key(most)}, []pipeline.PushOption{pipeline.Key(beyond)}, "Key has 256 bytes, of at most 255"},
			{[]pipeline.PushOption{pipeline.Tenant(most)}, []pipeline.PushOption{pipeline.Tenant(beyond)}, "Tenant has 256 bytes, of at most 255"},
			{[]pipeline.PushOption{pipeline.ID(most)}, []pipeline.PushOption{pipeline.ID(beyond)}, "ID has 256 bytes, of at most 255"},
			{[]pipeline.PushOption{pipeline.Priority(9)}, []pipeline.PushOption{pipeline.Priority(10)}, "Priority is 10, want 0 to 9"},
			{headers(64, 256), headers(65, 1), "65 headers, of at most 64"},
			{headers(1, 16<<10), headers(1, 16<<10+1), "headers of 16385 bytes, of at most 16384"},
		} {
			if _, err := p.Enqueue(t.Context(), order{}, tt.most...); err != nil {
				t.Errorf("at the limit that is exceeded by %q: %v", tt.says, err)
			}
			if _, err := p.Enqueue(t.Context(), order{}, tt.beyond...); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want invalid argument and %q", err, tt.says)
			}
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := linktest.NewMesh(t).Node(link.Config{Service: "mailer"})
		pull := func(name string, opts ...pipeline.PullOption) *pipeline.Worker {
			return pipeline.Pull(node, pipeline.NewStage[order, pipeline.None]("mailer", name), pipeline.NoResult(func(context.Context, order) error { return nil }), opts...)
		}
		for _, n := range []int{-1, 1025} {
			func() {
				want := fmt.Sprintf("Concurrency is %d, want 0 to 1024", n)
				defer func() {
					if err, ok := recover().(error); !ok || !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), want) {
						t.Errorf("%v, want a panic with invalid argument and %q", err, want)
					}
				}()
				pull("beyond", pipeline.Concurrency(n))
			}()
		}
		if n := pull("most", pipeline.Concurrency(1024)).Stats().Concurrency; n != 1024 {
			t.Errorf("Concurrency is %d, want 1024", n)
		}
		if n := pull("default").Stats().Concurrency; n != 16 {
			t.Errorf("without the option, Concurrency is %d, want 16", n)
		}
	})
}
