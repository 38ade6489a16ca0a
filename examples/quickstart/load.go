package main

import (
	"context"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
)

// Load is how many callers the gateway keeps busy and what they call.
type Load struct {
	Callers int
	Place   bool // PlaceOrder, otherwise GetOrder
}

// CountQuery asks for the Tally so far.
type CountQuery struct{}

// Many is how often the gateway calls GetOrder, one call after the other.
type Many struct{ Calls int }

// load is callers that call without pause and count what they get.
type load struct {
	counter

	changing sync.Mutex // one change at a time
	quit     chan struct{}
	callers  sync.WaitGroup
}

// setLoad ends the callers there are, each after its call, and starts new ones.
// It returns the tally of the old ones.
func (g *gateway) setLoad(_ context.Context, want Load) (Tally, error) {
	if want.Callers < 0 || want.Callers > 1024 {
		return Tally{}, link.Errorf(link.InvalidArgument, "Load.Callers is %d, want 0 to 1024", want.Callers)
	}
	l := &g.load
	l.changing.Lock()
	defer l.changing.Unlock()
	l.stop()
	last := l.reset()
	quit := make(chan struct{})
	l.quit = quit
	for range want.Callers {
		l.callers.Go(func() { g.callUntil(quit, want.Place) }) //nolint:contextcheck // callers outlive the call that starts them
	}
	return last, nil
}

// callUntil is one caller.
func (g *gateway) callUntil(quit <-chan struct{}, place bool) {
	for {
		select {
		case <-quit:
			return
		default:
		}
		g.load.add(g.callOnce(context.Background(), place))
	}
}

// getMany calls orders itself, beside the load, and counts what it gets.
func (g *gateway) getMany(ctx context.Context, want Many) (Tally, error) {
	if want.Calls < 0 || want.Calls > 10_000 {
		return Tally{}, link.Errorf(link.InvalidArgument, "Many.Calls is %d, want 0 to 10,000", want.Calls)
	}
	var c counter
	for range want.Calls {
		c.add(g.callOnce(ctx, false))
	}
	return c.count(), nil
}

// callOnce says which version answered.
func (g *gateway) callOnce(ctx context.Context, place bool) (by string, took time.Duration, err error) {
	var who link.Peer
	began := time.Now()
	if place {
		_, err = reqrep.Call(ctx, g.node, PlaceOrder, NewOrder{Cents: 4200}, link.Answered(&who))
	} else {
		_, err = reqrep.Call(ctx, g.node, GetOrder, OrderQuery{ID: "o-1"}, link.Answered(&who))
	}
	return version(who), time.Since(began), err
}

// end stops the callers for good.
func (l *load) end() {
	l.changing.Lock()
	defer l.changing.Unlock()
	l.stop()
}

func (l *load) stop() {
	if l.quit != nil {
		close(l.quit)
		l.quit = nil
	}
	l.callers.Wait()
}
