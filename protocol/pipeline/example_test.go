package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/pipeline"
)

// Letter is what the examples push. The stages are declared once, and both sides import
// them.
type Letter struct{ To, Text string }

var (
	Letters = pipeline.NewStage[Letter, pipeline.None]("post", "letters")
	Count   = pipeline.NewStage[Letter, int]("post", "count")
	Drafts  = pipeline.NewStage[string, pipeline.None]("post", "drafts")
)

// together makes a node of the service post, which pull makes a worker, and calls f with
// another node, which pushes.
func together(pull func(node *link.Node), f func(ctx context.Context, node *link.Node) error) {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	// This registry is for one process. Leave out Config.Registry to find other processes.
	registry, err := static.New()
	if err != nil {
		fmt.Println(err) //nolint:forbidigo // an example
		return
	}
	post, err1 := link.New(link.Config{Service: "post", Registry: registry})
	node, err2 := link.New(link.Config{Registry: registry})
	if err := errors.Join(err1, err2); err != nil {
		fmt.Println(err) //nolint:forbidigo // an example
		return
	}
	defer node.Close()
	pull(post)
	ran := make(chan error, 1)
	running, end := context.WithCancel(ctx)
	go func() { ran <- post.Run(running) }()
	<-post.Ready()
	if err := f(ctx, node); err != nil {
		fmt.Println(err) //nolint:forbidigo // an example
	}
	end()
	if err := <-ran; err != nil {
		fmt.Println(err) //nolint:forbidigo // an example
	}
}

// send is a worker's handler.
func send(_ context.Context, l Letter) error {
	if l.To == "" {
		return pipeline.Reject(errors.New("a letter to nobody"))
	}
	fmt.Println("sent to", l.To) //nolint:forbidigo // an example
	return nil
}

func Example() {
	together(func(node *link.Node) {
		pipeline.Pull(node, Letters, pipeline.NoResult(send))
	}, func(ctx context.Context, node *link.Node) error {
		if _, err := pipeline.Push(ctx, node, Letters, Letter{To: "Ada"}); err != nil {
			return err
		}
		_, err := pipeline.Push(ctx, node, Letters, Letter{})
		fmt.Println("a dead letter:", errors.Is(err, link.Aborted))
		return nil
	})
	// Output:
	// sent to Ada
	// a dead letter: true
}

func ExampleEnqueue() {
	together(func(node *link.Node) {
		pipeline.Pull(node, Count, func(_ context.Context, l Letter) (int, error) {
			return len(strings.Fields(l.Text)), nil
		})
	}, func(ctx context.Context, node *link.Node) error {
		future, err := pipeline.Enqueue(ctx, node, Count, Letter{Text: "all is well"}, pipeline.Priority(9))
		if err != nil {
			return err
		}
		words, err := future.Wait(ctx)
		fmt.Println(words, "words,", future.Outcome().End)
		return err
	})
	// Output: 3 words, acked
}

func ExamplePullBatch() {
	together(func(node *link.Node) {
		pipeline.PullBatch(node, Letters, func(_ context.Context, batch []*pipeline.Item[Letter, pipeline.None]) error {
			for _, item := range batch {
				if item.Value.To == "" {
					item.Nack(pipeline.Reject(errors.New("a letter to nobody")))
				}
			}
			fmt.Println("a bag of", len(batch))
			return nil
		}, pipeline.Concurrency(1), pipeline.Batch(3, time.Second))
	}, func(ctx context.Context, node *link.Node) error {
		letters, err := pipeline.NewProducer(node, Letters)
		if err != nil {
			return err
		}
		futures, err := letters.EnqueueAll(ctx, []Letter{{To: "Ada"}, {}, {To: "Eve"}})
		if err != nil {
			return err
		}
		for _, f := range futures {
			<-f.Done()
			fmt.Println(f.Outcome().End)
		}
		_, err = letters.Drain(ctx)
		return err
	})
	// Output:
	// a bag of 3
	// acked
	// dead-lettered
	// acked
}

func ExampleThrough() {
	together(func(node *link.Node) {
		pipeline.Through(node, Drafts, Letters, func(_ context.Context, draft string) (Letter, error) {
			to, text, _ := strings.Cut(draft, ": ")
			return Letter{to, text}, nil
		})
		pipeline.Pull(node, Letters, pipeline.NoResult(send))
	}, func(ctx context.Context, node *link.Node) error {
		if _, err := pipeline.Push(ctx, node, Drafts, "Ada: all is well"); err != nil {
			return err
		}
		// Push returns when the next stage has the letter. Wait for that stage too.
		for ctx.Err() == nil {
			stats, err := pipeline.QueryStats(ctx, node, "post")
			if err != nil {
				return err
			}
			if len(stats.Queues) == 1 && stats.Queues[0].Ended.Acked == 1 {
				fmt.Println("acked by both stages")
				return nil
			}
		}
		return ctx.Err()
	})
	// Output:
	// sent to Ada
	// acked by both stages
}

func ExampleDurable() {
	folder, err := os.MkdirTemp("", "letters-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	durable := pipeline.Durable(filepath.Join(folder, "queue"))
	together(func(node *link.Node) {
		pipeline.Pull(node, Letters, pipeline.NoResult(send))
	}, func(ctx context.Context, node *link.Node) error {
		letters, err := pipeline.NewProducer(node, Letters, durable)
		if err != nil {
			return err
		}
		if _, err := letters.Enqueue(ctx, Letter{To: "Ada"}, pipeline.Delay(300*time.Millisecond)); err != nil {
			return err
		}
		left, err := letters.Close() //nolint:contextcheck // it does not wait; or the process ends, at any time
		if err != nil {
			return err
		}
		fmt.Println(len(left), "left, kept on disk:", left[0].Kept)
		if letters, err = pipeline.NewProducer(node, Letters, durable); err != nil {
			return err
		}
		left, err = letters.Drain(ctx)
		fmt.Println(len(left), "left")
		return err
	})
	// Output:
	// 1 left, kept on disk: true
	// sent to Ada
	// 0 left
}
