package router

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/transport"
)

// TestADialThatIsMadeAgainHoldsNoCall has a call wait for a dial that succeeds, but whose connection has ended and whose
// address is silent when the call asks for the connection. The call goes to another instance, or, if there is none, ends
// at its deadline.
func TestADialThatIsMadeAgainHoldsNoCall(t *testing.T) {
	m := newMesh(t)
	gone, other := m.server("orders"), m.server("orders")
	s := orders(t, m.client(gone.Addr().String(), other.Addr().String()))
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
	addr := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	<-session.Done()
	silentAt(t, addr)

	call := func(most time.Duration, waits ...pending) (*endpoint, error) {
		now := time.Now()
		o := waiting(s, now.Add(most), waits)
		o.now = now
		for {
			if e, _, err := o.connected(t.Context(), transport.ClassCalls); e != nil || err != nil {
				return e, err
			}
		}
	}
	if e, err := call(time.Minute, slices.Clone(waits)...); err != nil || e.Value().ID != "orders-1" {
		t.Errorf("the call went to %v, %v; want the instance that is there", e, err)
	}
	if e, err := call(50*time.Millisecond, waits[0]); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the call went to %v, %v; want that it is out of time", e, err)
	}
	o := waiting(s, time.Now().Add(time.Minute), waits[:1:1])
	o.ended = maxEnded
	if e, _, err := o.connected(t.Context(), transport.ClassCalls); e != nil || err != nil || len(o.pending) > 0 || !o.tried.Has(waits[0].endpoint) {
		t.Errorf("%v, %v; an instance that ends its connections again and again is dialed without an end", e, err)
	}
}

// waiting returns the search of a call that waits for these instances.
func waiting(s *Service, deadline time.Time, waits []pending) *Search {
	search := &Search{service: s, ask: new(Ask)}
	search.deadline, search.pending, search.room, search.levels = deadline, waits, maxPending, make([]level, 1)
	return search
}
