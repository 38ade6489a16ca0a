package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"github.com/linkmesh/link/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is as much of an agent as the faults need that a real one cannot be made to have at will,
// or not in virtual time. What an agent does of itself is tested against a real one.
type agent struct {
	ln     *pipes
	server *http.Server

	mu       sync.Mutex
	index    uint64
	changed  chan struct{}
	services map[string]*held
	policies map[string][]byte
	fault    func(w http.ResponseWriter, r *http.Request) bool // answers itself if it returns true
	requests []string
}

type held struct {
	reg    api.AgentServiceRegistration
	checks map[string]string
}

// newAgent starts an agent that lives as long as the test, or bubble.
func newAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{ln: newPipes(), changed: make(chan struct{})}
	a.forget()
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: time.Hour}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.server.Serve(a.ln)
	}()
	t.Cleanup(func() {
		_ = a.server.Close()
		<-done
	})
	return a
}

// forget is a restart with nothing.
func (a *agent) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.services, a.policies = make(map[string]*held), make(map[string][]byte)
	a.index = 10
	a.wakeLocked()
}

func (a *agent) wakeLocked() {
	a.index++
	close(a.changed)
	a.changed = make(chan struct{})
}

// setFault replaces the fault and ends the queries that wait.
func (a *agent) setFault(fault func(w http.ResponseWriter, r *http.Request) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = fault
	a.wakeLocked()
}

// down cuts all connections and refuses new ones, until it is undone.
func (a *agent) down(yes bool) {
	a.ln.refuse(yes)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wakeLocked()
}

// add puts instances into the catalog as another process would.
func (a *agent) add(t *testing.T, instances ...discovery.Instance) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, in := range instances {
		reg, err := encode(in.Normalized(), "other")
		if err != nil {
			t.Fatal(err)
		}
		a.services[in.ID] = &held{reg: *reg, checks: map[string]string{reg.Check.CheckID: api.HealthPassing}}
	}
	a.wakeLocked()
}

func (a *agent) remove(ids ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		delete(a.services, id)
	}
	a.wakeLocked()
}

func (a *agent) setPolicy(key, document string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if document == "" {
		delete(a.policies, key)
	} else {
		a.policies[key] = []byte(document)
	}
	a.wakeLocked()
}

// count returns how many requests had text in their method and URL, and forgets them all.
func (a *agent) count(text string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, r := range a.requests {
		if strings.Contains(r, text) {
			n++
		}
	}
	a.requests = nil
	return n
}

// ids returns what is registered, sorted.
func (a *agent) ids() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for id := range a.services {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	fault := a.fault
	a.requests = append(a.requests, r.Method+" "+r.URL.String())
	a.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, "/v1/health/service/"):
		a.wait(r)
		a.health(w, r, strings.TrimPrefix(path, "/v1/health/service/"))
	case strings.HasPrefix(path, "/v1/kv/"):
		a.wait(r)
		a.kv(w, strings.TrimPrefix(path, "/v1/kv/"))
	default:
		a.local(w, r)
	}
}

// wait blocks as long as nothing changes.
func (a *agent) wait(r *http.Request) {
	index, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	limit, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		a.mu.Lock()
		now, changed, fault := a.index, a.changed, a.fault
		a.mu.Unlock()
		if index == 0 || now > index || fault != nil {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (a *agent) health(w http.ResponseWriter, r *http.Request, service string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	backend := "blocking-query"
	if r.URL.Query().Has("index") || r.URL.Query().Has("cached") {
		backend = backendStreaming
	}
	// As an agent does: see the comment on plain.
	w.Header().Set("X-Consul-KnownLeader", strconv.FormatBool(backend != backendStreaming))
	w.Header().Set("X-Consul-Query-Backend", backend)
	list := []any{}
	for _, h := range a.services {
		if h.reg.Name == service {
			list = append(list, h.entry("dc1"))
		}
	}
	a.answerLocked(w, list)
}

func (h *held) entry(dc string) entry {
	var e entry
	e.Node.Node, e.Node.Address, e.Node.Datacenter = "node-1", "192.0.2.200", dc
	e.Service.ID, e.Service.Service = h.reg.ID, h.reg.Name
	e.Service.Address, e.Service.Port = h.reg.Address, h.reg.Port
	e.Service.Tags, e.Service.Meta = h.reg.Tags, h.reg.Meta
	if h.reg.Weights != nil {
		e.Service.Weights.Passing = h.reg.Weights.Passing
	}
	for id, status := range h.checks {
		e.Checks = append(e.Checks, struct{ CheckID, Status string }{id, status})
	}
	return e
}

func (a *agent) answerLocked(w http.ResponseWriter, body any) {
	w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index, 10))
	_ = json.NewEncoder(w).Encode(body)
}

func (a *agent) kv(w http.ResponseWriter, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	document, ok := a.policies[key]
	if !ok {
		w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index, 10))
		w.WriteHeader(http.StatusNotFound)
		return
	}
	a.answerLocked(w, []api.KVPair{{Key: key, Value: document}})
}

// local is the part of the agent that is about its own services.
func (a *agent) local(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	verb, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/agent/"), "/")
	switch {
	case r.URL.Path == "/v1/agent/service/register":
		var reg api.AgentServiceRegistration
		if err := json.NewDecoder(r.Body).Decode(&reg); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h := a.services[reg.ID]
		if h == nil || r.URL.Query().Has("replace-existing-checks") {
			h = &held{checks: make(map[string]string)}
			a.services[reg.ID] = h
		}
		h.reg = reg
		h.checks[reg.Check.CheckID] = api.HealthPassing
		a.wakeLocked()
	case verb == "check":
		id = strings.TrimPrefix(id, "update/")
		for _, h := range a.services {
			if _, ok := h.checks[id]; ok {
				return
			}
		}
		http.Error(w, "Unknown check ID "+id, http.StatusNotFound)
	case verb == "health":
		id = strings.TrimPrefix(id, "service/id/")
		h := a.services[id]
		if h == nil {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"AggregatedStatus":"critical"}`))
			return
		}
		var info api.AgentServiceChecksInfo
		info.Service = &api.AgentService{
			ID: id, Service: h.reg.Name, Tags: h.reg.Tags, Meta: h.reg.Meta,
			Address: h.reg.Address, Port: h.reg.Port, Weights: *h.reg.Weights,
		}
		for id, status := range h.checks {
			info.Checks = append(info.Checks, &api.HealthCheck{CheckID: id, Status: status})
		}
		_ = json.NewEncoder(w).Encode(info)
	case strings.HasPrefix(id, "deregister/"):
		delete(a.services, strings.TrimPrefix(id, "deregister/"))
		a.wakeLocked()
	case strings.HasPrefix(id, "maintenance/"):
		if h := a.services[strings.TrimPrefix(id, "maintenance/")]; h != nil {
			delete(h.checks, api.ServiceMaintPrefix+h.reg.ID)
			if r.URL.Query().Get("enable") == "true" {
				h.checks[api.ServiceMaintPrefix+h.reg.ID] = api.HealthCritical
			}
		}
		a.wakeLocked()
	default:
		http.Error(w, "unexpected "+r.URL.Path, http.StatusTeapot)
	}
}

// pipes is a network with one listener, in memory so that it works in a bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once

	mu      sync.Mutex
	refused bool
	open    map[*pipe]struct{}
	most    int // open at one time
}

type pipe struct {
	net.Conn
	p *pipes
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), done: make(chan struct{}), open: make(map[*pipe]struct{})}
}

var errRefused = errors.New("connection refused")

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	refused := p.refused
	p.mu.Unlock()
	if refused {
		return nil, &net.OpError{Op: "dial", Err: errRefused}
	}
	near, far := net.Pipe()
	c := &pipe{Conn: near, p: p}
	p.mu.Lock()
	p.open[c] = struct{}{}
	p.most = max(p.most, len(p.open))
	p.mu.Unlock()
	select {
	case p.conns <- far:
		return c, nil
	case <-p.done:
		return nil, errors.Join(net.ErrClosed, c.Close())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), c.Close())
	}
}

func (c *pipe) Close() error {
	c.p.mu.Lock()
	delete(c.p.open, c)
	c.p.mu.Unlock()
	return c.Conn.Close()
}

func (p *pipes) refuse(yes bool) {
	p.mu.Lock()
	p.refused = yes
	var cut []*pipe
	for c := range p.open {
		if yes {
			cut = append(cut, c)
		}
	}
	p.mu.Unlock()
	for _, c := range cut {
		_ = c.Close()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// registry returns a registry of the agent that closes with the test.
func (a *agent) registry(t *testing.T, cfg Config) (*Registry, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.dial = a.ln.dial
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:8500"
	}
	if cfg.StateDir == "" {
		cfg.StateDir = stateOff
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, log
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// lines counts the lines that contain text.
func (l *logBuffer) lines(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func instance(id string) discovery.Instance {
	return discovery.Instance{ID: id, Service: "orders", Addr: "192.0.2.1:7443"}
}

var orders = discovery.Query{Service: "orders"}.Normalized()

func watchOrders(t *testing.T, r *Registry) <-chan discovery.Snapshot {
	t.Helper()
	ch, err := r.Watch(t.Context(), orders)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// show returns a snapshot in short: its IDs, and what is special.
func show(s discovery.Snapshot) string {
	var b strings.Builder
	for i, in := range s.Instances {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(in.ID)
		if in.Status == discovery.Draining {
			b.WriteString("(draining)")
		}
		if in.Weight != discovery.DefaultWeight {
			fmt.Fprintf(&b, "(%d)", in.Weight)
		}
	}
	if s.Stale {
		b.WriteString(" stale")
	}
	return strings.TrimSpace(b.String())
}

// newest returns the snapshot that is there when everybody has settled, or fails.
func newest(t *testing.T, ch <-chan discovery.Snapshot) discovery.Snapshot {
	t.Helper()
	select {
	case s, ok := <-ch:
		if !ok {
			t.Fatal("the watch has ended")
		}
		return s
	default:
		t.Fatal("no snapshot")
		return discovery.Snapshot{}
	}
}
