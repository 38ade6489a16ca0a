package agent

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// Cluster is a cluster of servers that keep their state on disk.
type Cluster struct {
	tb      testing.TB
	Servers []*Agent
}

// StartCluster runs n servers that elect a leader, and waits until each is ready.
func StartCluster(tb testing.TB, n int) *Cluster {
	tb.Helper()
	for try := 1; ; try++ {
		c, err := startCluster(tb, n)
		if err == nil {
			return c
		}
		for _, a := range c.Servers {
			a.Kill()
		}
		if !errors.Is(err, errPortTaken) || try == portTries {
			tb.Fatalf("starting %d Consul servers: %v", n, err)
		}
	}
}

func startCluster(tb testing.TB, n int) (*Cluster, error) {
	tb.Helper()
	c := &Cluster{tb: tb}
	var join []string
	for _, p := range freePorts(tb, n, false) {
		s := newSettings(Config{Durable: true})
		s.Bootstrap, s.BootstrapExpect = false, n
		s.RetryInterval = "1s"
		// A server that is killed stays a member, however long it is down.
		s.Autopilot = map[string]bool{"cleanup_dead_servers": false}
		// With these values a dead server is detected within about two seconds instead of ten.
		s.GossipLAN = map[string]any{"probe_interval": "200ms", "probe_timeout": "100ms", "suspicion_mult": 3, "gossip_interval": "50ms"}
		a := prepare(tb, s)
		a.usePorts(p)
		join = append(join, fmt.Sprintf("%s:%d", loopback, a.settings.Ports.SerfLAN))
		c.Servers = append(c.Servers, a)
	}
	for _, a := range c.Servers {
		a.settings.RetryJoin = join
		a.launch()
	}
	return c, c.ready()
}

// ready waits until all servers are ready. The first failure ends the wait, because the other servers
// cannot become ready without the one that failed.
func (c *Cluster) ready() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	results := make(chan error, len(c.Servers))
	for _, a := range c.Servers {
		go func() { results <- a.ready(ctx) }()
	}
	var first error
	for range c.Servers {
		if err := <-results; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// Leader waits until the running servers agree on a running leader, and returns it.
func (c *Cluster) Leader() *Agent {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		leader, err := c.agreed(ctx)
		if err == nil {
			return leader
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			c.tb.Fatalf("no leader within %v: %v", within, err)
		}
	}
}

func (c *Cluster) agreed(ctx context.Context) (*Agent, error) {
	found := ""
	for _, a := range c.Servers {
		if a.process == nil {
			continue
		}
		leader, err := a.client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
		if err != nil {
			return nil, err
		}
		if leader == "" || found != "" && leader != found {
			return nil, fmt.Errorf("%s follows %q, another %q", a.Node(), leader, found)
		}
		found = leader
	}
	for _, a := range c.Servers {
		if a.process != nil && found == fmt.Sprintf("%s:%d", loopback, a.settings.Ports.Server) {
			return a, nil
		}
	}
	return nil, fmt.Errorf("the leader is said to be %q, which does not run", found)
}

// Followers returns the running servers other than the leader.
func (c *Cluster) Followers() []*Agent {
	c.tb.Helper()
	leader := c.Leader()
	var all []*Agent
	for _, a := range c.Servers {
		if a.process != nil && a != leader {
			all = append(all, a)
		}
	}
	return all
}
