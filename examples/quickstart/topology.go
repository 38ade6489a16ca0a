package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/linkmesh/link/protocol/reqrep"
)

// topologyYAML is topology.yaml, which routes the gateway's calls of orders.
//
//go:embed topology.yaml
var topologyYAML []byte

// writeTopology writes topology.yaml to a temporary file for the gateway.
func writeTopology() (path string, err error) {
	f, err := os.CreateTemp("", "link-quickstart-*.yaml")
	if err != nil {
		return "", err
	}
	_, err = f.Write(topologyYAML)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// split counts how many of the gateway's calls each version gets. The bounds are
// wide, because the version of each call is chosen at random: of 1,000 calls with a
// share of 10 %, fewer than 5 % or more than 15 % happen in one run in millions.
func split(ctx context.Context, m *mesh) error {
	const calls, least, most = 1000, 50, 150
	got, err := reqrep.Call(ctx, m.node, GetMany, Many{Calls: calls})
	if err != nil {
		return err
	}
	rows := [][]string{{"TAG", "SUBSET", "CALLS", "SHARE", "WANTED"}}
	for _, want := range [][]string{{"v1", "stable", "90 %"}, {"v2", "canary", "10 %"}} {
		n := got.Answered[want[0]]
		rows = append(rows, []string{want[0], want[1], number(n), fmt.Sprintf("%4.1f %%", 100*float64(n)/calls), want[2]})
	}
	m.table(rows)
	if _, err := m.explain(ctx); err != nil {
		return err
	}
	canary := got.Answered["v2"]
	switch {
	case got.Failed > 0:
		return fmt.Errorf("%d of %d calls failed, the first with: %s", got.Failed, calls, got.Failure)
	case canary < least || canary > most:
		return fmt.Errorf("v2 answered %d of %d calls, want %d to %d", canary, calls, least, most)
	}
	return nil
}

// failover counts which version answers now that the stable subset is empty, which
// nine of ten calls are for.
func failover(ctx context.Context, m *mesh) error {
	const calls = 200
	got, err := reqrep.Call(ctx, m.node, GetMany, Many{Calls: calls})
	if err != nil {
		return err
	}
	m.table([][]string{
		{"CALLS", "BY V1", "BY V2", "FAILED"},
		{number(calls), number(got.Answered["v1"]), number(got.Answered["v2"]), number(got.Failed)},
	})
	why, err := m.explain(ctx)
	if err != nil {
		return err
	}
	switch {
	case got.Failed > 0:
		return fmt.Errorf("%d of %d calls failed, the first with: %s", got.Failed, calls, got.Failure)
	case got.Answered["v2"] != calls:
		return fmt.Errorf("v2 answered %d of %d calls", got.Answered["v2"], calls)
	case why.From != "stable" || why.To != "canary":
		return fmt.Errorf("by its explanation the gateway sends calls for %s to %s, want those for stable to canary", why.From, why.To)
	}
	return nil
}

// explain prints how the gateway's node explains its calls for the stable subset.
func (m *mesh) explain(ctx context.Context) (Explanation, error) {
	why, err := reqrep.Call(ctx, m.node, Explain, ExplainQuery{})
	if err != nil {
		return Explanation{}, err
	}
	m.line("\n   The gateway's Node.Explain says of a call for %s:\n", why.From)
	for line := range strings.Lines(why.Text) {
		m.line("   | %s", strings.TrimRight(line, "\n"))
	}
	return why, nil
}
