package link

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security"
)

// TestADialThatIsMadeAgainKeepsTheDeadline: the dial that a call has waited for is over, and when the call asks for the
// connection, that has ended. The context of the call has no deadline, and the address is silent.
func TestADialThatIsMadeAgainKeepsTheDeadline(t *testing.T) {
	s, e := toNobody(t)
	over := make(chan struct{})
	close(over)
	now := time.Now()
	o := &outgoing{service: s, now: now, deadline: now.Add(20 * time.Millisecond), pending: []pending{{e, over, now}}, levels: make([]level, 1)}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, _, err := o.connected(ctx, wire.ClassCalls)
	if !errors.Is(err, DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("the call ended with %v, its context with %v; want that it is out of time", err, ctx.Err())
	}
}

// toNobody returns a service, and its instance, at whose address nobody answers.
func toNobody(t *testing.T) (*service, *endpoint) {
	t.Helper()
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() }) // it has sent nothing
	registry, err := static.New(discovery.Instance{ID: "orders-1", Service: "orders", Addr: silent.LocalAddr().String()})
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{Registry: registry, Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), Limits: Limits{DialTimeout: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := n.service("orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.wait(t.Context(), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	e, ok := s.set.Lookup("orders-1")
	if !ok {
		t.Fatal("the instance is not known")
	}
	return s, e
}
