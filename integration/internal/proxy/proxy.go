// Package proxy provides a proxy in front of a Consul agent that records requests and spoils
// answers.
//
// # Overview
//
// [Start] returns a proxy that forwards everything. [Proxy.Break] makes it answer some requests
// with a [Fault] until it is mended. Requests in flight at that moment are answered with the fault
// as well, so a long poll does not delay a test.
//
// # Usage
//
//	p := proxy.Start(t, a.URL())
//	mend := p.Break(proxy.Path("/v1/health/service/"), proxy.Status(500))
//	p.Await("a question", func(r proxy.Request) bool { return r.Status == 500 })
//	mend()
//
// # Concurrency
//
// A Proxy is safe for concurrent use.
package proxy

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// within bounds the waits for events. It is generous because only failures take that long.
	within = 4 * time.Minute

	// maxRequests is how many requests are recorded; later ones are not.
	maxRequests = 200_000
)

// Match selects requests.
type Match func(*http.Request) bool

// Path matches the paths that begin with prefix.
func Path(prefix string) Match {
	return func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, prefix) }
}

// All matches every request.
func All() Match { return func(*http.Request) bool { return true } }

// Proxy is one proxy in front of one agent.
type Proxy struct {
	tb        testing.TB
	target    *url.URL
	server    *httptest.Server
	transport *http.Transport
	conns     connections

	mu sync.Mutex // guards the fields below
	// rules is in the order of the calls of Break; the last rule that matches wins.
	rules []*rule
	// change is closed and replaced when rules changes.
	change   chan struct{}
	requests []Request
	// news is closed and replaced when requests grows.
	news chan struct{}
}

type rule struct {
	match Match
	fault Fault
}

// Start runs a proxy in front of the server at target, such as "http://127.0.0.1:8500". It ends
// with the test.
func Start(tb testing.TB, target string) *Proxy {
	tb.Helper()
	to, err := url.Parse(target)
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{
		tb: tb, target: to, change: make(chan struct{}), news: make(chan struct{}),
		transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
	}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.server.Config.ConnState = p.conns.note
	p.server.Start()
	tb.Cleanup(func() {
		// Close would wait for long polls.
		p.server.CloseClientConnections()
		p.server.Close()
		p.transport.CloseIdleConnections()
	})
	return p
}

// Address returns the "host:port" of the proxy.
func (p *Proxy) Address() string { return p.server.Listener.Addr().String() }

// Break answers matching requests with fault until mend is called, including requests that are
// already waiting for the agent's answer. If several faults match a request, the latest one applies.
func (p *Proxy) Break(match Match, fault Fault) (mend func()) {
	r := &rule{match, fault}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, r)
	p.changedLocked()
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.rules = slices.DeleteFunc(p.rules, func(have *rule) bool { return have == r })
		p.changedLocked()
	})
}

func (p *Proxy) changedLocked() {
	close(p.change)
	p.change = make(chan struct{})
}

// rule returns the rule that applies to a request, nil if none, and a channel that is closed when
// that may change.
func (p *Proxy) rule(r *http.Request) (*rule, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rule := range slices.Backward(p.rules) {
		if rule.match(r) {
			return rule, p.change
		}
	}
	return nil, p.change
}

// Connections returns how many client connections are open now, and the most that were open at once.
func (p *Proxy) Connections() (open, peak int) { return p.conns.count() }

// connections counts the connections of one server.
type connections struct {
	mu         sync.Mutex // guards the fields below
	open, peak int
}

func (c *connections) note(_ net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state { //nolint:exhaustive // the others are still open
	case http.StateNew:
		c.open++
		c.peak = max(c.peak, c.open)
	case http.StateClosed, http.StateHijacked:
		c.open--
	}
}

func (c *connections) count() (open, peak int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open, c.peak
}

// until returns a context that is canceled with the cause errRulesChanged when change is closed. The
// caller must call release.
func until(ctx context.Context, change <-chan struct{}) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-change:
			cancel(errRulesChanged)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}
