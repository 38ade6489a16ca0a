// Package agent runs real Consul agents for tests.
//
// # Overview
//
// [Start] runs one agent, which is a server of its own, and [StartCluster] a
// cluster of servers. An agent can be killed, frozen and restarted, with its
// data or without. It ends with its test, also when the test panics.
//
// # Usage
//
//	a := agent.Start(t, agent.Config{})
//	registry, err := consul.New(consul.Config{Address: a.Address()})
//	a.Kill()
//	a.RestartEmpty()
//
// # Concurrency
//
// An Agent belongs to the goroutine of its test. Address, URL, Token and Client
// may be used from any.
package agent

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// within bounds every wait for an agent. It is generous, as only failures spend it.
	within = 4 * time.Minute

	// portTries is how often an agent gets other ports because somebody took those it had.
	portTries = 5
)

// Config says how an agent runs. The zero value is an open agent in memory.
type Config struct {
	// ACL denies what no token allows; see [Agent.Token] and [Agent.NewToken].
	ACL bool
	// Durable keeps the state on disk, so that [Agent.Restart] finds it again. Without it the
	// agent runs in development mode, starts faster, and forgets everything when it ends.
	Durable bool
	// Datacenter is "dc1" if empty.
	Datacenter string
	// MaxConnections is how many HTTP connections the agent allows one address, 200 if zero.
	MaxConnections int
	// PromptOutputs has the agent write what a check says at once. By default that is minutes
	// late if nothing else has changed.
	PromptOutputs bool
	// WAN lets the agent join other datacenters; see [Agent.JoinWAN].
	WAN bool
}

// Agent is one Consul agent.
type Agent struct {
	tb       testing.TB
	binary   string
	settings settings
	dir      string
	logs     *logBuffer
	client   *api.Client
	process  *process // nil while it does not run
}

// Start runs an agent and waits until it has a leader and takes registrations.
func Start(tb testing.TB, cfg Config) *Agent {
	tb.Helper()
	a := prepare(tb, newSettings(cfg))
	for try := 1; ; try++ {
		a.usePorts(freePorts(tb, 1, cfg.WAN)[0])
		a.launch()
		err := a.ready(context.Background())
		if err == nil {
			return a
		}
		a.Kill()
		if !errors.Is(err, errPortTaken) || try == portTries {
			tb.Fatalf("starting the Consul agent: %v", err)
		}
	}
}

// prepare returns an agent that does not run yet.
func prepare(tb testing.TB, s settings) *Agent {
	tb.Helper()
	a := &Agent{tb: tb, binary: binary(tb), settings: s, dir: tb.TempDir(), logs: &logBuffer{}}
	tb.Cleanup(func() {
		a.Kill()
		if tb.Failed() {
			tb.Logf("log of Consul agent %s:\n%s", s.NodeName, a.logs)
		}
	})
	return a
}

func (a *Agent) usePorts(p ports) {
	a.tb.Helper()
	a.settings.Ports = p
	client, err := api.NewClient(&api.Config{Address: a.Address(), Token: a.Token()})
	if err != nil {
		a.tb.Fatal(err)
	}
	a.client = client
}

// Address returns the "host:port" of the HTTP API. It stays the same over restarts.
func (a *Agent) Address() string { return fmt.Sprintf("%s:%d", loopback, a.settings.Ports.HTTP) }

// URL returns the address of the HTTP API with its scheme.
func (a *Agent) URL() string { return "http://" + a.Address() }

// Node returns the name of the agent's node in the catalog.
func (a *Agent) Node() string { return a.settings.NodeName }

// Token returns the token that may do everything, "" without ACLs.
func (a *Agent) Token() string {
	if a.settings.ACL == nil {
		return ""
	}
	return a.settings.ACL.Tokens.InitialManagement
}

// Client returns a client of the raw API that may do everything.
func (a *Agent) Client() *api.Client { return a.client }

// Kill ends the agent at once, as a crash does.
func (a *Agent) Kill() {
	if a.process != nil {
		a.process.kill()
		a.process = nil
	}
}

// Restart kills the agent, if it runs, and starts it on the same ports with the data it had, if it
// is durable, and waits until it is ready.
func (a *Agent) Restart() {
	a.tb.Helper()
	a.Kill()
	a.relaunch()
}

// RestartEmpty is Restart after all data is lost.
func (a *Agent) RestartEmpty() {
	a.tb.Helper()
	a.Kill()
	a.dir = a.tb.TempDir()
	a.relaunch()
}

// JoinWAN makes the datacenters of both agents known to each other and waits until they are. Both
// must have been started with Config.WAN.
func (a *Agent) JoinWAN(other *Agent) {
	a.tb.Helper()
	addr := fmt.Sprintf("%s:%d", loopback, other.settings.Ports.SerfWAN)
	if err := a.client.Agent().Join(addr, true); err != nil {
		a.tb.Fatalf("joining datacenter %s: %v", other.settings.Datacenter, err)
	}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for deadline := time.Now().Add(within); ; <-ticker.C {
		_, _, err := a.client.Catalog().Nodes(&api.QueryOptions{Datacenter: other.settings.Datacenter})
		if err == nil {
			_, _, err = other.client.Catalog().Nodes(&api.QueryOptions{Datacenter: a.settings.Datacenter})
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			a.tb.Fatalf("joining datacenter %s: not within %v: %v", other.settings.Datacenter, within, err)
		}
	}
}

func (a *Agent) relaunch() {
	a.tb.Helper()
	for deadline := time.Now().Add(within); ; {
		a.launch()
		err := a.ready(context.Background())
		if err == nil {
			return
		}
		a.Kill()
		if !errors.Is(err, errPortTaken) || time.Now().After(deadline) {
			a.tb.Fatalf("restarting the Consul agent: %v", err)
		}
	}
}
