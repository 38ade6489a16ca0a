package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkmesh/link/protocol/reqrep"
)

// placers is the number of callers that place orders while v1 drains.
const placers = 32

// drain takes v1 out of the mesh while it is in use. The topology has no rule for
// PlaceOrder, so both versions share its calls. link never retries it, so a call
// that v1 lost would fail. A subscription receives every order that either places.
func drain(ctx context.Context, m *mesh) error {
	live, err := m.listen(ctx)
	if err != nil {
		return err
	}
	defer live.sub.Close()
	if _, err := reqrep.Call(ctx, m.node, SetLoad, Load{Callers: placers, Place: true}); err != nil {
		return err
	}
	if err := pause(ctx, 600*time.Millisecond); err != nil {
		return err
	}
	before, err := m.count(ctx)
	if err != nil {
		return err
	}
	took, err := m.stop("orders v1")
	if err != nil {
		return err
	}
	if _, err := m.untilFound(ctx, "orders", "v2"); err != nil {
		return err
	}
	gone, err := m.count(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, 600*time.Millisecond); err != nil {
		return err
	}
	// Each caller ends after its current call.
	all, err := reqrep.Call(ctx, m.node, SetLoad, Load{})
	if err != nil {
		return err
	}
	m.answered = all.total()
	during, after := gone.minus(before), all.minus(gone)

	rows := [][]string{{"", "CALLS", "BY V1", "BY V2", "FAILED"}}
	for _, phase := range []struct {
		name string
		Tally
	}{{"before", before}, {"while v1 drains", during}, {"after", after}, {"in all", all}} {
		rows = append(rows, []string{
			phase.name, number(phase.total()), number(phase.Answered["v1"]), number(phase.Answered["v2"]), number(phase.Failed),
		})
	}
	m.table(rows)
	m.fact("v1 drained", fmt.Sprintf("in %d ms, exit status 0", took.Milliseconds()))
	m.fact("slowest call", fmt.Sprintf("%d ms, of which the handler takes %d", all.Slowest.Milliseconds(), storing.Milliseconds()))
	m.fact("found now", "v2 alone")
	if err := live.untilHeard(ctx, all.Answered); err != nil {
		return err
	}
	m.fact("heard live", fmt.Sprintf("of all %s orders, on one subscription to both: %s by v1, %s by v2", number(all.total()), number(all.Answered["v1"]), number(all.Answered["v2"])))
	switch {
	case all.Failed > 0:
		return fmt.Errorf("%d calls failed, the first with: %s", all.Failed, all.Failure)
	case before.Answered["v1"] == 0 || before.Answered["v2"] == 0:
		return errors.New("the two versions did not share the calls before")
	case after.Answered["v1"] > 0 || after.Answered["v2"] == 0:
		return errors.New("v2 did not answer all calls afterwards")
	}
	return nil
}

// finish drains the gateway and v2, checks that the registry does not list them
// any more, and compares the number of placed orders with the number of answers.
func finish(ctx context.Context, m *mesh) error {
	for _, name := range []string{"gateway", "orders v2"} {
		took, err := m.stop(name)
		if err != nil {
			return err
		}
		m.fact(name+" drained", fmt.Sprintf("in %d ms, exit status 0", took.Milliseconds()))
	}
	for _, service := range []string{"orders", "gateway"} {
		if _, err := m.untilFound(ctx, service); err != nil {
			return err
		}
	}
	m.fact("found now", "nobody")
	m.fact("orders placed", fmt.Sprintf("%s, as v1 and v2 counted; %s answered, as the gateway counted", number(m.placed), number(m.answered)))
	if m.placed != m.answered {
		return errors.New("a call was lost or ran twice")
	}
	return nil
}

// count asks the gateway for the tally of its callers so far.
func (m *mesh) count(ctx context.Context) (Tally, error) {
	return reqrep.Call(ctx, m.node, Count, CountQuery{})
}
