package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline"
)

// SendReceipt is a pipeline stage: each receipt is work for any mailer that is free.
var SendReceipt = pipeline.NewStage[Receipt, pipeline.None]("mailer", "receipts")

// Receipt is one receipt for a mailer to send.
type Receipt struct{ Number int }

// sending is how long it takes to send a receipt. It simulates a mail server.
const sending = 10 * time.Millisecond

// serveMailer runs a mailer until ctx ends.
func serveMailer(ctx context.Context, namespace string) error {
	node, err := link.New(link.Config{Service: "mailer", Namespace: namespace})
	if err != nil {
		return err
	}
	pipeline.Pull(node, SendReceipt, pipeline.NoResult(func(ctx context.Context, _ Receipt) error {
		return pause(ctx, sending)
	}), pipeline.Concurrency(8))
	return serve(ctx, node)
}

const (
	receipts = 1000

	// sentOff is the number of receipts that are done when one of the mailers is killed.
	sentOff = 300
)

// work pushes receipts to two mailers and kills one of them halfway, without a chance
// to hand over its work. Each receipt is still sent.
func work(ctx context.Context, m *mesh) error {
	for _, name := range []string{"mailer a", "mailer b"} {
		p, err := start(ctx, name, "mailer", m.namespace)
		if err != nil {
			return err
		}
		m.processes[name] = p
	}
	if _, err := m.untilFound(ctx, "mailer", "-", "-"); err != nil {
		return err
	}
	began := time.Now()
	futures := make([]*pipeline.Future[pipeline.None], 0, receipts)
	for i := range receipts {
		f, err := pipeline.Enqueue(ctx, m.node, SendReceipt, Receipt{i})
		if err != nil {
			return err
		}
		futures = append(futures, f)
	}
	if _, err := futures[sentOff].Wait(ctx); err != nil {
		return err
	}
	if err := m.processes["mailer a"].kill(); err != nil {
		return err
	}
	delete(m.processes, "mailer a")
	killed := time.Since(began)
	by := make(map[string]int)
	again := 0
	for _, f := range futures {
		if _, err := f.Wait(ctx); err != nil {
			return fmt.Errorf("a receipt was not sent: %w", err)
		}
		outcome := f.Outcome()
		by[outcome.Worker]++
		if outcome.Attempts > 1 {
			again++
		}
	}
	rows := [][]string{{"MAILER", "RECEIPTS SENT"}}
	for worker, n := range by {
		rows = append(rows, []string{worker, number(n)})
	}
	m.table(rows)
	m.fact("pushed", number(receipts))
	m.fact("killed", fmt.Sprintf("one mailer, with SIGKILL, after %d ms", killed.Milliseconds()))
	m.fact("begun twice", fmt.Sprintf("%d receipts that it had begun and not confirmed", again))
	m.fact("done", fmt.Sprintf("all %s, after %.1f s", number(len(futures)), time.Since(began).Seconds()))
	if len(by) != 2 {
		return fmt.Errorf("%d mailers sent receipts, want both", len(by))
	}
	return nil
}

// kill ends the process with SIGKILL, like a power cut.
func (p *process) kill() error {
	if err := p.cmd.Process.Signal(os.Kill); err != nil {
		return err
	}
	for p.lines.Scan() {
		continue
	}
	// Wait returns an error because the process was killed.
	_ = p.cmd.Wait()
	return nil
}
