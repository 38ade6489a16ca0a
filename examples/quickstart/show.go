package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/linkmesh/link"
)

// limit is how long the quickstart may take. It takes about 4 s.
const limit = time.Minute

// mesh is the state that the steps share.
type mesh struct {
	report
	namespace string

	// topology is the path of the gateway's topology file.
	topology string

	// node is a client: it never runs, so other nodes do not find it.
	node      *link.Node
	processes map[string]*process

	// placed counts the orders that processes report, answered those whose callers got an
	// answer.
	placed   int
	answered int
}

// show runs the quickstart.
func show(ctx context.Context) error {
	began := time.Now()
	// Unset the variables that link reads, except for the address of Consul: this
	// demonstrates the defaults, all on loopback.
	for _, name := range []string{
		"LINK_ADDR", "LINK_ADVERTISE", "LINK_CLUSTER_SECRET", "LINK_ENV", "LINK_NAMESPACE", "LINK_PEERS", "LINK_STATE_DIR",
		"LINK_TAGS", "LINK_TOPOLOGY", "LINK_ZONE", "KUBERNETES_SERVICE_HOST",
	} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %v", limit))
	defer cancel()
	// The namespace is unique, so that concurrent quickstarts do not find each other.
	namespace := "quickstart-" + rand.Text()[:6]
	node, err := link.New(link.Config{Namespace: namespace})
	if err != nil {
		return err
	}
	file, err := writeTopology()
	if err != nil {
		return errors.Join(err, node.Close())
	}
	m := &mesh{
		report:    report{os.Stdout},
		namespace: namespace,
		topology:  file,
		node:      node,
		processes: make(map[string]*process),
	}
	defer m.leave()
	m.line("link quickstart: two versions of orders, a gateway, mailers, each a process; %s", meetingPlace(node))
	if err := reachable(ctx, node); err != nil {
		return err
	}
	steps := []struct {
		title string
		run   func(context.Context, *mesh) error
	}{
		{"Discovery: what a client sees that has just started", discover},
		{"Identity: the gateway calls orders/get", identify},
		{"Topology: of the gateway's calls of orders/get, one in ten goes to v2", split},
		{"Speed: calls of orders/get over mutual TLS, all on this machine", measure},
		{"Errors: the gateway is asked for an order that does not exist", fail},
		{"Drain: v1 gets SIGTERM while 32 callers place orders, and a subscriber listens", drain},
		{"Failover: v1 is gone, so its nine of ten calls of orders/get go to v2", failover},
		{"Work: 1,000 receipts for two mailers, of which one is killed half way", work},
		{"Work, and SIGTERM: a shop has queued 400 receipts when it is told to stop", leave},
		{"Shutdown: the others drain too", finish},
	}
	for i, step := range steps {
		m.line("\n%d. %s\n", i+1, step.title)
		if err := step.run(ctx, m); err != nil {
			// If the run was interrupted or timed out, report that instead.
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("step %d of %d failed (%s): %w", i+1, len(steps), step.title, err)
		}
	}
	m.line("\nAll %d steps passed in %.1f s.", len(steps), time.Since(began).Seconds())
	return nil
}

// reachable returns an error if the registry cannot be read. The services would wait
// for it.
func reachable(ctx context.Context, node *link.Node) error {
	if _, err := node.Instances(ctx, "orders"); err != nil {
		return err
	}
	for _, s := range node.Status().Services {
		if s.Stale {
			return fmt.Errorf("%s cannot be read, so nobody would be found: %s", node.Status().Registry, s.Reason)
		}
	}
	return nil
}

// meetingPlace describes the registry in which services find each other.
func meetingPlace(node *link.Node) string {
	registry := node.Status().Registry
	if dir, ok := strings.CutPrefix(registry, "local registry "); ok {
		return "registry of this machine: " + dir
	}
	return "registry: " + registry
}

// stop drains a service and returns how long that took.
func (m *mesh) stop(name string) (time.Duration, error) {
	told := time.Now()
	p := m.processes[name]
	delete(m.processes, name)
	placed, err := p.stop()
	m.placed += placed
	return time.Since(told), err
}

// leave stops the processes that a failed step left running, so that nothing outlives
// the quickstart. It ignores errors, because only the error of the step matters.
func (m *mesh) leave() {
	for name := range m.processes {
		_, _ = m.stop(name)
	}
	_ = errors.Join(m.node.Close(), os.Remove(m.topology))
}
