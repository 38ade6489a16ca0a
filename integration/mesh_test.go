package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/consul"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/security"
)

// within bounds the waits for events. It is so long that only a failure spends it,
// however busy the machine is.
const within = 4 * time.Minute

// service is what the tests' servers are called.
const service = "orders"

// The methods return the ID of the instance that answers.
var (
	read  = reqrep.NewMethod[string, string](service, "read", link.ReadOnly)
	write = reqrep.NewMethod[string, string](service, "write", link.Unsafe) // never sent twice
)

// mesh is the nodes of one test, which trust each other and nobody else.
type mesh struct {
	t      *testing.T
	secret string
	log    *logBuffer
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{t: t, secret: security.NewSecret(), log: &logBuffer{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the nodes:\n%s", m.log)
		}
	})
	return m
}

func (m *mesh) logger() *slog.Logger { return slog.New(slog.NewTextHandler(m.log, nil)) }

// registry returns a registry of its own that uses the agent at address, as each process has one.
func (m *mesh) registry(address string, change ...func(*consul.Config)) *consul.Registry {
	m.t.Helper()
	cfg := consul.Config{Address: address, StateDir: filepath.Join(m.t.TempDir(), "state"), Logger: m.logger()}
	for _, c := range change {
		c(&cfg)
	}
	r, err := consul.New(cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			m.t.Errorf("closing the registry: %v", err)
		}
	})
	return r
}

// source returns an identity.
func (m *mesh) source(name string) security.Source {
	m.t.Helper()
	source, err := security.NewClusterSource(m.secret, name, "")
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := source.Close(); err != nil {
			m.t.Error(err)
		}
	})
	return source
}

// node returns a node of service name, "" for a client, on loopback.
func (m *mesh) node(name string, r discovery.Registry, cfg link.Config) *link.Node {
	m.t.Helper()
	cfg.Service, cfg.Registry, cfg.Logger, cfg.Addr = name, r, m.logger(), "127.0.0.1:0"
	if name == "" {
		name = "client"
	}
	cfg.Identity = m.source(name)
	node, err := link.New(cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := node.Close(); err != nil {
			m.t.Errorf("closing a node: %v", err)
		}
	})
	return node
}

// client returns a node that serves nothing.
func (m *mesh) client(r discovery.Registry) *link.Node {
	m.t.Helper()
	return m.node("", r, link.Config{})
}

// server is a node that serves.
type server struct {
	*link.Node

	t       *testing.T
	calls   atomic.Int64  // handled so far
	last    atomic.Int64  // UnixNano of the last
	hold    chan struct{} // calls of write with "hold" return when it is closed
	release func()        // closes hold
	end     context.CancelFunc
	ended   chan error
}

// serve runs a server of service until the test ends, and returns when it is announced.
func (m *mesh) serve(r discovery.Registry, cfg link.Config) *server {
	m.t.Helper()
	s := m.start(service, r, cfg)
	select {
	case <-s.Ready():
	case err := <-s.ended:
		m.t.Fatalf("a server did not start: %v", err)
	case <-time.After(within):
		m.t.Fatalf("a server is not ready within %v", within)
	}
	return s
}

// start is serve under any name, without the wait.
func (m *mesh) start(name string, r discovery.Registry, cfg link.Config) *server {
	m.t.Helper()
	s := &server{Node: m.node(name, r, cfg), t: m.t, hold: make(chan struct{}), ended: make(chan error, 1)}
	s.release = sync.OnceFunc(func() { close(s.hold) })
	handle := func(ctx context.Context, what string) (string, error) {
		s.calls.Add(1)
		s.last.Store(time.Now().UnixNano())
		if what == "hold" {
			select {
			case <-s.hold:
			case <-ctx.Done():
			}
		}
		return s.Instance(), nil
	}
	reqrep.Handle(s.Node, reqrep.NewMethod[string, string](name, "read", link.ReadOnly), handle)
	reqrep.Handle(s.Node, reqrep.NewMethod[string, string](name, "write", link.Unsafe), handle)
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ended <- s.Run(ctx)
	}()
	m.t.Cleanup(func() {
		s.release()
		cancel()
		<-done
	})
	return s
}

// stop drains the server and waits for it.
func (s *server) stop() {
	s.t.Helper()
	s.end()
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("Run: %v", err)
		}
	case <-time.After(within):
		s.t.Fatalf("a server has not ended within %v", within)
	}
}

// ask makes one call and returns who answered.
func ask(ctx context.Context, client *link.Node, options ...link.CallOption) (string, error) {
	return reqrep.Call(ctx, client, read, "", options...)
}

// hold makes a call that ends when the server that got it is released.
func hold(t *testing.T, client *link.Node) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return reqrep.Call(ctx, client, write, "hold")
}

// untilAnswered calls until each of the servers has answered.
func untilAnswered(t *testing.T, client *link.Node, servers ...*server) {
	t.Helper()
	missing := make(map[string]bool)
	for _, s := range servers {
		missing[s.Instance()] = true
	}
	eventually(t, "an answer of each server", within, func() error {
		id, err := ask(t.Context(), client)
		if err != nil {
			return err
		}
		if delete(missing, id); len(missing) > 0 {
			return fmt.Errorf("nothing of %v", missing)
		}
		return nil
	})
}

// eventually looks at a state that announces no change, until it holds.
func eventually(t *testing.T, what string, limit time.Duration, holds func() error) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(limit); ; <-ticker.C {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
	}
}

// ids returns the IDs of instances.
func ids(instances []discovery.Instance) []string {
	all := make([]string, 0, len(instances))
	for _, in := range instances {
		all = append(all, in.ID)
	}
	return all
}

// same reports whether instances are those with the IDs want, which are in any order.
func same(instances []discovery.Instance, want ...string) bool {
	slices.Sort(want)
	return slices.Equal(ids(instances), want)
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu  sync.Mutex // guards the field below
	buf bytes.Buffer
}

// maxLog bounds what is kept of a log, in bytes.
const maxLog = 1 << 20

var errLogFull = errors.New("the log is full")

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() > maxLog {
		return 0, errLogFull
	}
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// lines counts the lines that contain each of the texts.
func (l *logBuffer) lines(texts ...string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			n++
		}
	}
	return n
}
