package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// errPortTaken reports that one of the agent's ports is in use.
var errPortTaken = errors.New("a port is in use")

// poll is the interval at which states are polled.
const poll = 25 * time.Millisecond

// ready waits until the agent has a leader, is in the catalog itself, and can write to the catalog,
// or until ctx ends.
func (a *Agent) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		last := a.usable(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-a.process.done:
			log := a.logs.sinceStart()
			if strings.Contains(log, "address already in use") {
				return errPortTaken
			}
			return fmt.Errorf("it ended by itself: %s", log)
		case <-ctx.Done():
			return fmt.Errorf("not ready within %v: %w", within, last)
		}
	}
}

// usable returns nil if the agent is ready, and otherwise the reason why it is not.
func (a *Agent) usable(ctx context.Context) error {
	leader, err := a.client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return err
	}
	if leader == "" {
		return errors.New("no leader")
	}
	checks, _, err := a.client.Health().Node(a.Node(), (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return err
	}
	if checks.AggregatedStatus() != api.HealthPassing || len(checks) == 0 {
		return fmt.Errorf("the health of node %s is not known: %v", a.Node(), checks)
	}
	probe := "ready-" + a.Node()
	write := (&api.WriteOptions{}).WithContext(ctx)
	if _, err := a.client.Catalog().Register(&api.CatalogRegistration{Node: probe, Address: loopback}, write); err != nil {
		return err
	}
	_, err = a.client.Catalog().Deregister(&api.CatalogDeregistration{Node: probe}, write)
	return err
}
