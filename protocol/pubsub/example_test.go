package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/pubsub"
)

// Event is the message of the examples, and Events is their topic. Both are declared once,
// and imported by publishers and subscribers.
type Event struct{ Text string }

var Events = pubsub.NewTopic[Event]("news", "events")

// together runs f with a publisher of the service news, and with a node that can subscribe.
func together(f func(ctx context.Context, events *pubsub.Publisher[Event], node *link.Node) error) error {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	// This registry is for one process. Leave Config.Registry out to find other processes.
	registry, err := static.New()
	if err != nil {
		return err
	}
	publisher, err1 := link.New(link.Config{Service: "news", Registry: registry})
	reader, err2 := link.New(link.Config{Registry: registry})
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	events, err := pubsub.NewPublisher(publisher, Events)
	if err != nil {
		return err
	}
	ran := make(chan error, 1)
	running, end := context.WithCancel(ctx)
	defer end()
	go func() { ran <- publisher.Run(running) }()
	<-publisher.Ready()
	err = f(ctx, events, reader)
	end()
	return errors.Join(err, reader.Close(), <-ran)
}

func Example() {
	err := together(func(ctx context.Context, events *pubsub.Publisher[Event], node *link.Node) error {
		sub, err := pubsub.Subscribe(ctx, node, Events)
		if err != nil {
			return err
		}
		defer sub.Close()
		report, err := events.Publish(ctx, Event{"hello"}, pubsub.Header("from", "Ada"))
		if err != nil {
			return err
		}
		fmt.Println("subscriptions:", report.Matched)
		for m := range sub.Messages() {
			if m.Gap != nil {
				fmt.Println("missed", m.Gap.Count, "messages:", m.Gap.Reason)
				continue
			}
			fmt.Println(m.Seq, m.Value.Text, "from", m.Header("from"))
			break
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// subscriptions: 1
	// 1 hello from Ada
	// <nil>
}

// Wildcards select from what is published below a topic.
func ExampleBelow() {
	err := together(func(ctx context.Context, events *pubsub.Publisher[Event], node *link.Node) error {
		europe, err := pubsub.Subscribe(ctx, node, pubsub.NewTopic[Event]("news", "events.eu.>"))
		if err != nil {
			return err
		}
		defer europe.Close()
		for _, place := range []string{"us.boston", "eu.paris", "eu.rome.trastevere"} {
			if _, err := events.Publish(ctx, Event{"rain"}, pubsub.Below(place)); err != nil {
				return err
			}
		}
		n := 0
		for m := range europe.Messages() {
			fmt.Println(m.Topic, m.Value.Text)
			if n++; n == 2 {
				break
			}
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// events.eu.paris rain
	// events.eu.rome.trastevere rain
	// <nil>
}

// Members of a group share the messages.
func ExampleGroup() {
	err := together(func(ctx context.Context, events *pubsub.Publisher[Event], node *link.Node) error {
		var done sync.WaitGroup
		done.Add(100)
		handled := make([]int, 2)
		for i := range handled {
			count := func(context.Context, pubsub.Message[Event]) error {
				handled[i]++
				done.Done()
				return nil
			}
			member, err := pubsub.SubscribeFunc(ctx, node, Events, count, pubsub.Group("billing"))
			if err != nil {
				return err
			}
			defer member.Close()
		}
		for range 100 {
			if _, err := events.Publish(ctx, Event{"an order"}); err != nil {
				return err
			}
		}
		done.Wait()
		fmt.Println("in all:", handled[0]+handled[1])
		fmt.Println("each has a part:", handled[0] > 0 && handled[1] > 0)
		return nil
	})
	fmt.Println(err)
	// Output:
	// in all: 100
	// each has a part: true
	// <nil>
}

// A subscription may start in the past. It gets the history, and then new messages.
func ExampleFromLast() {
	err := together(func(ctx context.Context, events *pubsub.Publisher[Event], node *link.Node) error {
		for _, text := range []string{"one", "two", "three"} {
			if _, err := events.Publish(ctx, Event{text}); err != nil {
				return err
			}
		}
		sub, err := pubsub.Subscribe(ctx, node, Events, pubsub.FromLast(2))
		if err != nil {
			return err
		}
		defer sub.Close()
		if _, err := events.Publish(ctx, Event{"four"}); err != nil {
			return err
		}
		for m := range sub.Messages() {
			fmt.Println(m.Value.Text, m.Replayed)
			if m.Value.Text == "four" {
				break
			}
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// two true
	// three true
	// four false
	// <nil>
}

// In the class AtLeastOnce, a message is delivered again if its handler fails.
func ExampleSubscribeFunc() {
	err := together(func(ctx context.Context, events *pubsub.Publisher[Event], node *link.Node) error {
		var tries []int
		done := make(chan struct{})
		handle := func(_ context.Context, m pubsub.Message[Event]) error {
			tries = append(tries, m.Attempt)
			if m.Attempt == 1 {
				// The message comes again in a second.
				return errors.New("the database is away")
			}
			close(done)
			// The message is acked.
			return nil
		}
		sub, err := pubsub.SubscribeFunc(ctx, node, Events, handle, pubsub.AtLeastOnce)
		if err != nil {
			return err
		}
		defer sub.Close()
		if _, err := events.Publish(ctx, Event{"charge the card"}); err != nil {
			return err
		}
		<-done
		fmt.Println("tries:", tries)
		return nil
	})
	fmt.Println(err)
	// Output:
	// tries: [1 2]
	// <nil>
}

// A handler may say when its message comes again.
func ExampleRetry() {
	err := together(func(ctx context.Context, events *pubsub.Publisher[Event], node *link.Node) error {
		done := make(chan struct{})
		handle := func(_ context.Context, m pubsub.Message[Event]) error {
			fmt.Println("attempt", m.Attempt)
			if m.Attempt == 1 {
				return pubsub.Retry(10*time.Millisecond, errors.New("the database restarts"))
			}
			close(done)
			return nil
		}
		sub, err := pubsub.SubscribeFunc(ctx, node, Events, handle, pubsub.AtLeastOnce)
		if err != nil {
			return err
		}
		defer sub.Close()
		if _, err := events.Publish(ctx, Event{"charge the card"}); err != nil {
			return err
		}
		<-done
		return nil
	})
	fmt.Println(err)
	// Output:
	// attempt 1
	// attempt 2
	// <nil>
}

// Any service may publish to a shared topic. Subscribers find all services that do.
func ExampleNewSharedTopic() {
	logins := pubsub.NewSharedTopic[Event]("audit.logins")
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	registry, err := static.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	var publishers []*pubsub.Publisher[Event]
	for _, service := range []string{"mobile", "web"} {
		node, err := link.New(link.Config{Service: service, Registry: registry})
		if err != nil {
			fmt.Println(err)
			return
		}
		p, err := pubsub.NewPublisher(node, logins)
		if err != nil {
			fmt.Println(err)
			return
		}
		publishers = append(publishers, p)
		ran := make(chan error, 1)
		go func() { ran <- node.Run(ctx) }()
		<-node.Ready()
		defer func() { fmt.Println(node.Close(), <-ran) }()
	}
	auditor, err := link.New(link.Config{Registry: registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auditor.Close()
	sub, err := pubsub.Subscribe(ctx, auditor, logins)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Close()
	for _, p := range publishers {
		if _, err := p.Publish(ctx, Event{"Ada"}); err != nil {
			fmt.Println(err)
		}
	}
	var from []string
	for m := range sub.Messages() {
		if from = append(from, m.Peer().Service()+": "+m.Value.Text); len(from) == 2 {
			break
		}
	}
	slices.Sort(from)
	fmt.Println(from)
	// Output:
	// [mobile: Ada web: Ada]
	// <nil> <nil>
	// <nil> <nil>
}
