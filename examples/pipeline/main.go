// Pipeline shows how tasks end: they are done by whichever worker has room, tried again if
// they fail, and kept as dead letters if they cannot be done. The producer learns which.
//
//	go run ./examples/pipeline
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline"
)

// Count is the contract, declared once for both sides: a task is a page, and its result is the
// number of words.
var Count = pipeline.NewStage[string, int]("counters", "words")

// work makes node a worker.
func work(node *link.Node) {
	pipeline.Pull(node, Count, func(ctx context.Context, page string) (int, error) {
		switch {
		case page == "":
			// Trying again would not help.
			return 0, pipeline.Reject(errors.New("the page is empty"))
		case page == "a blurred page" && pipeline.TaskOf(ctx).Attempt == 1:
			return 0, pipeline.Retry(0, errors.New("the page cannot be read"))
		}
		time.Sleep(5 * time.Millisecond)
		return len(strings.Fields(page)), nil
	}, pipeline.Concurrency(4))
}

func main() {
	slog.SetLogLoggerLevel(slog.LevelError)
	ctx, stop := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for range 2 {
		node, err := link.New(link.Config{Service: "counters"})
		check(err)
		work(node)
		workers.Go(func() { check(node.Run(ctx)) })
	}

	producer, err := link.New(link.Config{})
	check(err)
	var futures []*pipeline.Future[int]
	for n := range 200 {
		// Enqueue waits for no worker.
		future, err := pipeline.Enqueue(ctx, producer, Count, fmt.Sprint("this is page number ", n))
		check(err)
		futures = append(futures, future)
	}
	words, by := 0, make(map[string]int)
	for _, future := range futures {
		n, err := future.Wait(ctx)
		check(err)
		words += n
		by[future.Outcome().Worker]++
	}
	fmt.Printf("%d workers counted %d words on %d pages\n", len(by), words, len(futures))

	// Push waits until the task has ended.
	n, err := pipeline.Push(ctx, producer, Count, "a blurred page")
	check(err)
	fmt.Println("a blurred page has", n, "words, as the second attempt found")
	_, err = pipeline.Push(ctx, producer, Count, "")
	fmt.Println("an empty page:", err)

	check(producer.Close())
	stop()
	workers.Wait()
}

func check(err error) {
	if err != nil {
		log.Fatal("pipeline: ", err)
	}
}
