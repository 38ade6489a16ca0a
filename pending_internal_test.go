package link

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/security"
)

// TestADialThatIsMadeAgainHoldsNoCall has a call wait for a dial that succeeds, but whose connection has ended and whose
// address is silent when the call asks for the connection. The call goes to another instance, or, if there is none, ends
// at its deadline.
func TestADialThatIsMadeAgainHoldsNoCall(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	gone, other := serving(t), serving(t)
	n := newNode(t, Config{Registry: listed(t, gone.Addr(), other.Addr()), Addr: "127.0.0.1:0", Limits: Limits{DialTimeout: time.Minute}})
	s := known(t, n)
	lookup := func(id string) *endpoint {
		e, ok := s.set.Lookup(id)
		if !ok {
			t.Fatalf("%s is not known", id)
		}
		return e
	}
	dialed := func(id string) pending {
		dial, err := lookup(id).Value().peer.Connect(transport.ClassCalls)
		if err != nil {
			t.Fatal(err)
		}
		<-dial.Done()
		// Look the endpoint up again: it was replaced when the instance announced its tags.
		return pending{lookup(id), dial}
	}
	waits := []pending{dialed("orders-0"), dialed("orders-1")}
	session, err := waits[0].dial.Result()
	if err != nil {
		t.Fatal(err)
	}
	addr := gone.Addr()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	<-session.Done()
	silentAt(t, addr)

	call := func(most time.Duration, waits ...pending) (*endpoint, error) {
		now := time.Now()
		o := &outgoing{service: s, now: now, deadline: now.Add(most), pending: waits, room: maxPending, levels: make([]level, 1)}
		for {
			if e, _, err := o.connected(t.Context(), transport.ClassCalls); e != nil || err != nil {
				return e, err
			}
		}
	}
	if e, err := call(time.Minute, slices.Clone(waits)...); err != nil || e.Value().ID != "orders-1" {
		t.Errorf("the call went to %v, %v; want the instance that is there", e, err)
	}
	if e, err := call(50*time.Millisecond, waits[0]); !errors.Is(err, DeadlineExceeded) {
		t.Errorf("the call went to %v, %v; want that it is out of time", e, err)
	}
	o := &outgoing{service: s, deadline: time.Now().Add(time.Minute), pending: waits[:1:1], room: maxPending, levels: make([]level, 1)}
	o.ended = maxEnded
	if e, _, err := o.connected(t.Context(), transport.ClassCalls); e != nil || err != nil || len(o.pending) > 0 || !o.tried.Has(waits[0].endpoint) {
		t.Errorf("%v, %v; an instance that ends its connections again and again is dialed without an end", e, err)
	}
}

// toNobody returns a service and its only instance, whose address never answers.
func toNobody(t *testing.T) (*service, *endpoint) {
	t.Helper()
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	addr := silentAt(t, "127.0.0.1:0")
	s := known(t, newNode(t, Config{Registry: listed(t, addr), Addr: "127.0.0.1:0", Limits: Limits{DialTimeout: time.Minute}}))
	e, ok := s.set.Lookup("orders-0")
	if !ok {
		t.Fatal("the instance is not known")
	}
	return s, e
}

// known returns the service orders of a node once its instances are known.
func known(t *testing.T, n *Node) *service {
	t.Helper()
	s, err := n.service("orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.wait(t.Context(), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return s
}

// silentAt opens a socket that never answers and returns its address.
func silentAt(t *testing.T, addr string) string {
	t.Helper()
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.ListenUDP("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	return silent.LocalAddr().String()
}

// newNode returns a node that the test closes.
func newNode(t *testing.T, cfg Config) *Node {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// serving returns an instance of orders.
func serving(t *testing.T) *Node {
	t.Helper()
	n := newNode(t, Config{Service: "orders", Registry: listed(t), Addr: "127.0.0.1:0"})
	if _, err := n.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// listed returns a registry with one instance of orders per address, named orders-0, orders-1 and so on.
func listed(t *testing.T, addrs ...string) *static.Registry {
	t.Helper()
	var all []discovery.Instance
	for i, addr := range addrs {
		all = append(all, discovery.Instance{ID: fmt.Sprint("orders-", i), Service: "orders", Addr: addr})
	}
	registry, err := static.New(all...)
	if err != nil {
		t.Fatal(err)
	}
	return registry
}
