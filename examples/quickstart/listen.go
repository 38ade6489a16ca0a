package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/linkmesh/link/protocol/pubsub"
)

// listener counts the messages that a subscription to OrderPlaced receives from each
// version.
type listener struct {
	sub *pubsub.Subscription[Placed]

	mu    sync.Mutex // guards the fields below
	heard map[string]int
	ids   map[string]bool

	// wrong is a duplicate or missing message that was detected, or "".
	wrong string
}

// listen subscribes to the orders that any instance places. It uses Reliable, so that
// messages that are not received at once are delivered later.
func (m *mesh) listen(ctx context.Context) (*listener, error) {
	l := &listener{heard: make(map[string]int), ids: make(map[string]bool)}
	sub, err := pubsub.SubscribeFunc(ctx, m.node, OrderPlaced, l.hear, pubsub.Reliable, pubsub.OnGap(l.missed))
	l.sub = sub
	return l, err
}

func (l *listener) hear(_ context.Context, msg pubsub.Message[Placed]) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ids[msg.Value.Order.ID] {
		l.wrong = "order " + msg.Value.Order.ID + " was heard of twice"
	}
	l.ids[msg.Value.Order.ID] = true
	l.heard[msg.Value.Version]++
	return nil
}

func (l *listener) missed(publisher string, gap pubsub.Gap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = fmt.Sprintf("%d messages of %s are missing: %s", gap.Count, publisher, gap.Reason)
}

// untilHeard waits until the subscription has received as many orders as were placed.
func (l *listener) untilHeard(ctx context.Context, placed map[string]int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		l.mu.Lock()
		v1, v2, wrong := l.heard["v1"], l.heard["v2"], l.wrong
		l.mu.Unlock()
		switch {
		case wrong != "":
			return fmt.Errorf("the subscription to orders/placed: %s", wrong)
		case v1 == placed["v1"] && v2 == placed["v2"]:
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("the subscription to orders/placed heard of %d and %d orders by v1 and v2, which placed %d and %d", v1, v2, placed["v1"], placed["v2"])
		}
	}
}
