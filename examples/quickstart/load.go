package main

import (
	"context"
	"maps"
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

// Tally is what the callers got since the load was set.
type Tally struct {
	Answered map[string]int // by the version that answered
	Failed   int
	Failure  string // the first one
	Slowest  time.Duration
}

// load is callers that call without pause and count what they get.
type load struct {
	changing sync.Mutex // one change at a time
	quit     chan struct{}
	callers  sync.WaitGroup

	mu    sync.Mutex // guards tally
	tally Tally
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
	last := l.count()
	l.tally = Tally{Answered: make(map[string]int)}
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
		var who link.Peer
		var err error
		began := time.Now()
		if place {
			_, err = reqrep.Call(context.Background(), g.node, PlaceOrder, NewOrder{Cents: 4200}, link.Answered(&who))
		} else {
			_, err = reqrep.Call(context.Background(), g.node, GetOrder, OrderQuery{ID: "o-1"}, link.Answered(&who))
		}
		g.load.add(version(who), time.Since(began), err)
	}
}

func (l *load) add(version string, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.Slowest = max(l.tally.Slowest, took)
	if err == nil {
		l.tally.Answered[version]++
		return
	}
	if l.tally.Failed++; l.tally.Failed == 1 {
		l.tally.Failure = err.Error()
	}
}

func (l *load) count() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tally
	t.Answered = maps.Clone(t.Answered)
	return t
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
