package main

import (
	"context"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
)

// Load is the number of callers that the gateway keeps busy, and the method that they
// call: PlaceOrder if Place is set, otherwise GetOrder.
type Load struct {
	Callers int
	Place   bool
}

// CountQuery asks for the Tally so far.
type CountQuery struct{}

// Many makes the gateway call GetOrder this many times, one call after the other.
type Many struct{ Calls int }

// load is a set of callers that call without pause and count the results.
type load struct {
	counter

	// changing serializes changes of the callers.
	changing sync.Mutex
	quit     chan struct{}
	callers  sync.WaitGroup
}

// setLoad ends the current callers, each after its current call, and starts new
// ones. It returns the tally of the old ones.
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

// callUntil runs one caller until quit is closed.
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

// getMany calls orders itself, independently of the load, and counts the results.
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

// callOnce makes one call and returns which version answered.
func (g *gateway) callOnce(ctx context.Context, place bool) (by string, took time.Duration, err error) {
	var who link.Peer
	began := time.Now()
	if place {
		_, err = reqrep.Call(ctx, g.node, PlaceOrder, NewOrder{Cents: 4200}, link.AnsweredBy(&who))
	} else {
		_, err = reqrep.Call(ctx, g.node, GetOrder, OrderQuery{ID: "o-1"}, link.AnsweredBy(&who))
	}
	return version(who), time.Since(began), err
}

// end stops the callers.
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
