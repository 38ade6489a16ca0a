package main

import (
	"context"
	"fmt"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/reqrep"
)

// SendAll makes a shop send the receipts of the batch. It answers when they are
// queued, not when they are sent.
var SendAll = reqrep.NewMethod[Batch, Batch]("shop", "send-all", link.Unsafe)

// Batch is a number of receipts.
type Batch struct{ Receipts int }

// serveShop runs a shop until ctx ends. It does not need to handle receipts that are
// still queued then: Run waits until they are sent.
func serveShop(ctx context.Context, namespace string) error {
	node, err := link.New(link.Config{Service: "shop", Namespace: namespace})
	if err != nil {
		return err
	}
	reqrep.Handle(node, SendAll, func(ctx context.Context, b Batch) (Batch, error) {
		if b.Receipts < 0 || b.Receipts > receipts {
			return Batch{}, link.Errorf(link.InvalidArgument, "%d receipts, want 0 to %d", b.Receipts, receipts)
		}
		for i := range b.Receipts {
			if _, err := pipeline.Enqueue(ctx, node, SendReceipt, Receipt{i}); err != nil {
				return Batch{i}, err
			}
		}
		return b, nil
	})
	return serve(ctx, node)
}

// queued is the number of receipts that the shop queues before it is told to stop.
const queued = 400

// leave starts a shop, lets it queue receipts for the remaining mailer, and sends it
// SIGTERM at once. Each receipt is sent before the process ends.
func leave(ctx context.Context, m *mesh) error {
	shop, err := start(ctx, "shop", "shop", m.namespace)
	if err != nil {
		return err
	}
	m.processes["shop"] = shop
	if _, err := m.untilFound(ctx, "shop", "-"); err != nil {
		return err
	}
	before, err := m.sent(ctx)
	if err != nil {
		return err
	}
	if _, err := reqrep.Call(ctx, m.node, SendAll, Batch{queued}); err != nil {
		return err
	}
	atStop, err := m.sent(ctx)
	if err != nil {
		return err
	}
	took, err := m.stop("shop")
	if err != nil {
		return err
	}
	after, err := m.sent(ctx)
	if err != nil {
		return err
	}
	m.fact("queued", fmt.Sprintf("%d receipts, in the memory of the shop", queued))
	m.fact("SIGTERM", fmt.Sprintf("when %d of them were sent", atStop-before))
	m.fact("shop drained", fmt.Sprintf("in %d ms, exit status 0", took.Milliseconds()))
	m.fact("sent", fmt.Sprintf("%d receipts; none is lost", after-before))
	if after-before != queued {
		return fmt.Errorf("%d receipts were sent, want %d", after-before, queued)
	}
	_, err = m.stop("mailer b")
	return err
}

// sent asks the mailer how many receipts it has sent.
func (m *mesh) sent(ctx context.Context) (int, error) {
	stats, err := pipeline.QueryStats(ctx, m.node, "mailer")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, w := range stats.Workers {
		n += int(w.Done)
	}
	return n, nil
}
