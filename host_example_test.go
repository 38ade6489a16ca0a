package link_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
)

// Poll is a pattern of its own: a question that every instance of a service answers. [link.HostOf] is all it needs.
type Poll[Q, A any] struct{ route link.Route }

// NewPoll declares a poll, once for both sides.
func NewPoll[Q, A any](service, name string) Poll[Q, A] {
	return Poll[Q, A]{link.Route{Service: service, Name: name, Kind: link.KindChannel, Level: link.ReadOnly}}
}

// Answer makes the node answer polls with f.
func (p Poll[Q, A]) Answer(node *link.Node, f func(ctx context.Context, question Q) (A, error)) {
	link.HostOf(node).HandleCall(p.route, link.CallHandler{
		New: func() any { return new(Q) },
		Serve: func(ctx context.Context, question any) (any, error) {
			q, _ := question.(*Q)
			return f(ctx, *q)
		},
	})
}

// Ask asks the instances that are there and returns their answers by instance, and why the others gave none.
func (p Poll[Q, A]) Ask(ctx context.Context, node *link.Node, question Q) (map[string]A, error) {
	ctx, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	host := link.HostOf(node)
	lists, err := host.Follow(ctx, p.route)
	if err != nil {
		return nil, err
	}
	answers, failures := make(map[string]A), []error(nil)
	for _, in := range <-lists {
		var answer A
		if err := host.Call(ctx, p.route, question, &answer, link.OnInstance(in.ID)); err != nil {
			failures = append(failures, err)
			continue
		}
		answers[in.ID] = answer
	}
	return answers, errors.Join(failures...)
}

// Temperature is asked of every sensor.
var Temperature = NewPoll[string, int]("sensors", "temperature")

func ExampleHostOf() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	// This registry is for one process. Leave Config.Registry out to find other processes.
	registry, err := static.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	for degrees := range 3 {
		sensor, err := link.New(link.Config{Service: "sensors", Registry: registry})
		if err != nil {
			fmt.Println(err)
			return
		}
		Temperature.Answer(sensor, func(context.Context, string) (int, error) { return 20 + degrees, nil })
		ran := make(chan error, 1)
		go func() { ran <- sensor.Run(ctx) }()
		<-sensor.Ready()
		defer func() { _, _ = sensor.Close(), <-ran }()
	}
	client, err := link.New(link.Config{Registry: registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	answers, err := Temperature.Ask(ctx, client, "kitchen")
	fmt.Println(slices.Sorted(maps.Values(answers)), err)
	// Output: [20 21 22] <nil>
}
