// Package agent runs real Consul agents for tests.
//
// # Overview
//
// [Start] runs one agent, a single server, and [StartCluster] runs a cluster of
// servers. An agent can be killed, frozen and restarted, with or without its
// data. It is killed when its test ends, on Linux even if the test panics.
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
// An Agent must be used from the goroutine of its test only, except for its
// methods Address, URL, Token and Client, which any goroutine may call.
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
	// within bounds every wait for an agent. It is generous because only failures take that long.
	within = 4 * time.Minute

	// portTries is how many sets of ports are tried before a start fails because a port is in use.
	portTries = 5
)

// Config configures an agent. The zero value is an agent without ACLs that keeps its state in memory.
type Config struct {
	// ACL makes the agent deny everything that a token does not allow; see [Agent.Token] and
	// [Agent.NewToken].
	ACL bool
	// Durable keeps the state on disk, so that it survives [Agent.Restart]. Otherwise the
	// agent runs in development mode, starts faster, and loses its state when it ends.
	Durable bool
	// Datacenter is the name of the datacenter, "dc1" if empty.
	Datacenter string
	// MaxConnections is how many HTTP connections the agent allows per client address, 200 if zero.
	MaxConnections int
	// PromptOutputs makes the agent write the output of a check to the catalog at once. By default
	// it does so minutes later if nothing else has changed.
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
	// process is nil while the agent is not running.
	process *process
}

// Start runs an agent and waits until it has a leader and accepts registrations.
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

// prepare returns an agent that is not running yet.
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

// Address returns the "host:port" of the HTTP API. It stays the same across restarts.
func (a *Agent) Address() string { return fmt.Sprintf("%s:%d", loopback, a.settings.Ports.HTTP) }

// URL returns the base URL of the HTTP API.
func (a *Agent) URL() string { return "http://" + a.Address() }

// Node returns the name of the agent's node in the catalog.
func (a *Agent) Node() string { return a.settings.NodeName }

// Token returns the secret of the management token, or "" without ACLs.
func (a *Agent) Token() string {
	if a.settings.ACL == nil {
		return ""
	}
	return a.settings.ACL.Tokens.InitialManagement
}

// Client returns a client of Consul's own API that uses the management token.
func (a *Agent) Client() *api.Client { return a.client }

// Kill ends the agent at once, like a crash.
func (a *Agent) Kill() {
	if a.process != nil {
		a.process.kill()
		a.process = nil
	}
}

// Restart kills the agent if it is running, starts it again on the same ports, and waits until it is
// ready. A durable agent keeps its data.
func (a *Agent) Restart() {
	a.tb.Helper()
	a.Kill()
	a.relaunch()
}

// RestartEmpty is like Restart, but the agent loses all its data.
func (a *Agent) RestartEmpty() {
	a.tb.Helper()
	a.Kill()
	a.dir = a.tb.TempDir()
	a.relaunch()
}

// JoinWAN joins the datacenters of both agents and waits until each can query the other. Both agents
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
