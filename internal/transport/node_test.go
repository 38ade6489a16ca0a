package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/mtls" //nolint:depguard // as in network_test.go
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/transport/memconn"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security" //nolint:depguard // as in network_test.go
)

// node is an endpoint under test, with a handler that records what it sees.
type node struct {
	*Endpoint

	t       *testing.T
	w       *world
	id      security.ID
	source  security.Source
	handler *recorder
	log     *logBuffer
	addr    string
}

type nodeOption func(c *Config)

// speaking sets the protocol version that the node speaks.
func speaking(protocol string) nodeOption {
	return func(c *Config) {
		c.Protocol = protocol
	}
}

// node returns an endpoint that listens and has the identity of the service.
func (w *world) node(service string, limits Limits, opts ...nodeOption) *node {
	w.t.Helper()
	n := w.quiet(service, limits, opts...)
	if err := n.Listen(); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// quiet returns an endpoint that does not listen and has the identity of the service.
func (w *world) quiet(service string, limits Limits, opts ...nodeOption) *node {
	w.t.Helper()
	source := w.ca.Source(service)
	n := &node{t: w.t, w: w, id: source.ID(), source: source, handler: newRecorder(), log: &logBuffer{}}
	config := Config{
		Conn:      w.socket(),
		ServerTLS: func(protocol string) *tls.Config { return mtls.Server(source, protocol) },
		Identify:  identify,
		Refusal: func(err error) string {
			if refusal, ok := errors.AsType[*security.VerifyError](err); ok {
				return refusal.Reason.String()
			}
			return ""
		},
		Setup: func() (wire.Setup, []wire.RouteInfo) {
			return setupOf(limits), []wire.RouteInfo{{Name: "echo", Level: 2}}
		},
		Handler: n.handler,
		Limits:  limits,
		Logger:  slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, opt := range opts {
		opt(&config)
	}
	e, err := New(config)
	if err != nil {
		w.t.Fatal(err)
	}
	n.Endpoint, n.addr = e, e.Addr().String()
	w.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			w.t.Errorf("closing the endpoint of %s: %v", service, err)
		}
	})
	return n
}

func identify(state tls.ConnectionState, _ *x509.Certificate) (Identity, error) {
	p, err := mtls.PeerFromState(state)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Key: p.ID.String(), Peer: p.ID.String()}, nil
}

// peer returns the Peer with which n reaches to.
func (n *node) peer(to *node) *Peer { return n.peerAt(to.id, to.addr) }

func (n *node) peerAt(id security.ID, addr string) *Peer {
	p := n.Peer(id.String(), addr, PeerConfig{TLS: func() *tls.Config { return mtls.Client(n.source, id, n.cfg.Protocol) }})
	n.t.Cleanup(p.Release)
	return p
}

// connect returns a session to the node.
func (n *node) connect(to *node) *Session {
	n.t.Helper()
	p := n.peer(to)
	if n.w.inMemory {
		return n.wire(p, to)
	}
	s, err := p.Session(n.t.Context(), ClassCalls)
	if err != nil {
		n.t.Fatalf("connecting: %v", err)
	}
	return s
}

// wire returns a session to the node on a connection in memory.
func (n *node) wire(p *Peer, to *node) *Session {
	n.t.Helper()
	if s := p.Live(ClassCalls); s != nil {
		return s
	}
	s, err := n.greetOn(p, to.attach(n.id, n.end()), to.id)
	if err != nil {
		n.t.Fatalf("connecting: %v", err)
	}
	quiesce()
	return s
}

// end returns the end of a connection in memory at the node.
func (n *node) end() memconn.End {
	addr, _ := n.Addr().(*net.UDPAddr)
	return memconn.End{Addr: addr, Window: firstWindow, StreamWindow: firstWindow / 2}
}

// attach has the node serve a new connection in memory, of a peer with this identity. It returns the peer's end.
func (n *node) attach(id security.ID, peer memconn.End) carrier.Conn {
	n.t.Helper()
	own := n.end()
	own.Streams = n.limits.Streams.PerConnection
	here, there := memconn.Pair(withOwner(n.t.Context()), withOwner(n.t.Context()), peer, own)
	if !n.group.Go(func(context.Context) { n.serve(there, identityOf(id)) }) {
		n.t.Fatal("the node is closed")
	}
	return here
}

func identityOf(id security.ID) Identity { return Identity{Key: id.String(), Peer: id.String()} }

// greetOn makes a session of a connection to a peer with this identity.
func (n *node) greetOn(p *Peer, conn carrier.Conn, id security.ID) (*Session, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), n.limits.DialTimeout)
	defer cancel()
	s, err := n.greet(ctx, conn, identityOf(id), p)
	if err == nil {
		p.slots[ClassCalls].session.Store(s)
	}
	return s, err
}

// call makes a unary call with a timeout of 10 s and returns a copy of the
// reply's message.
func call(ctx context.Context, s *Session, route, message string) (string, wire.Status, error) {
	return callWithin(ctx, s, 10*time.Second, route, message)
}

func callWithin(ctx context.Context, s *Session, timeout time.Duration, route, message string) (string, wire.Status, error) {
	now := time.Now()
	var reply Reply
	err := s.Call(ctx, now, now.Add(timeout), &wire.Headers{Route: route}, data(message), &reply)
	if err != nil {
		return "", wire.Status{}, err
	}
	defer reply.Release()
	return string(reply.Message), reply.Status, nil
}

// mustEcho makes an honest call, which must succeed.
func mustEcho(t *testing.T, s *Session) {
	t.Helper()
	got, status, err := call(t.Context(), s, "echo", "honest")
	if err != nil || status.Code != 0 || got != "honest" {
		t.Fatalf("an honest call: %q, %+v, %v", got, status, err)
	}
	quiesce()
}

// data returns a DATA frame.
func data(message string) []byte { return frame(wire.KindData, 0, message) }

func frame(kind wire.Kind, flags wire.Flags, body string) []byte {
	b := wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: kind, Flags: flags, Length: uint64(len(body))})
	return append(b, body...)
}

// recorder is a handler with routes by name. It counts the handlers that run.
type recorder struct {
	mu     sync.Mutex // guards routes and ran
	routes map[string]Route
	ran    map[string]int
	// authorize decides who may use the routes that are Guarded. If it is nil, everybody may.
	authorize func(*Session, *Route) *wire.Status
	running   atomic.Int64
	peak      atomic.Int64
}

type (
	callFunc   func(c *Call)
	streamFunc func(s *Stream)
)

func newRecorder() *recorder {
	r := &recorder{routes: make(map[string]Route), ran: make(map[string]int)}
	r.onCall("echo", echo)
	r.onCall("wait", wait)
	return r
}

func echo(c *Call) { answer(c, string(c.Message)) }

func answer(c *Call, message string) {
	c.Reply = append(c.Reply, data(message)...)
	c.Reply = wire.AppendOK(c.Reply, c.StatusFlags())
}

// wait runs until the caller is gone, the deadline has passed or the endpoint
// cancels it, and answers with the cause.
func wait(c *Call) {
	timer := time.NewTimer(time.Until(c.Deadline))
	defer timer.Stop()
	cause := "deadline"
	select {
	case <-c.Canceled().Done():
		cause = "canceled"
	case <-c.Session.Handlers().Done():
		cause = context.Cause(c.Session.Handlers()).Error()
	case <-timer.C:
	}
	c.Reply = wire.AppendStatus(c.Reply, &wire.Status{Code: 1, Message: cause}, c.StatusFlags())
}

func (r *recorder) onCall(name string, f callFunc) { r.route(name, Route{Value: named{name, f}}) }

func (r *recorder) onStream(name string, f streamFunc) {
	r.route(name, Route{Value: named{name, f}, Stream: true})
}

// named is the value of a route. f is a callFunc or a streamFunc.
type named struct {
	name string
	f    any
}

func (r *recorder) route(name string, route Route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes[name] = route
}

// count returns how often the handler of a route has run.
func (r *recorder) count(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ran[name]
}

// Authorize implements Handler.
func (r *recorder) Authorize(s *Session, route *Route) *wire.Status {
	if r.authorize == nil {
		return nil
	}
	return r.authorize(s, route)
}

// Find implements Handler.
func (r *recorder) Find(_ *Session, h *wire.HeadersView) Route {
	name := string(h.Route)
	if h.Route == nil && h.RouteID == 0 {
		name = "echo"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if route, ok := r.routes[name]; ok {
		return route
	}
	return Route{Refuse: &wire.Status{Code: 12, Message: "no route " + name}}
}

func (r *recorder) begin(name string) {
	r.mu.Lock()
	r.ran[name]++
	r.mu.Unlock()
	for n := r.running.Add(1); ; {
		if peak := r.peak.Load(); n <= peak || r.peak.CompareAndSwap(peak, n) {
			return
		}
	}
}

// ServeCall implements Handler.
func (r *recorder) ServeCall(c *Call) {
	// Find returns no other values.
	route, _ := c.Route.(named)
	r.begin(route.name)
	defer r.running.Add(-1)
	route.f.(callFunc)(c) //nolint:errcheck // the type of the route says that it is one
}

// ServeStream implements Handler.
func (r *recorder) ServeStream(s *Stream) {
	route, _ := s.Route.(named)
	r.begin(route.name)
	defer r.running.Add(-1)
	route.f.(streamFunc)(s) //nolint:errcheck // the type of the route says that it is one
}

// logBuffer holds what an endpoint logs.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) contains(words ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return containsAll(l.buf.String(), words...)
}

func containsAll(text string, words ...string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

func (n *node) serverTLS() *tls.Config { return n.cfg.ServerTLS(n.cfg.Protocol) }

// honestTLS returns the configuration with which an honest client dials the node.
func honestTLS(w *world, to *node) *tls.Config {
	return mtls.Client(w.ca.Source("web"), to.id, mtls.Protocol)
}

// Session dials the connection of class if there is none, waits for it and returns it.
func (p *Peer) Session(ctx context.Context, class Class) (*Session, error) {
	d, err := p.Connect(class)
	if err != nil {
		return nil, err
	}
	select {
	case <-d.Done():
		return d.Result()
	case <-ctx.Done():
		return nil, &Error{Reason: ReasonCanceled, Peer: p.key.addr, NotProcessed: true, Detail: "while connecting", Err: ended(ctx)}
	}
}
