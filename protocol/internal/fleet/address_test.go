package fleet_test

import (
	"errors"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/protocol/internal/fleet"
)

// reached is a stream to the instance with that ID.
type reached string

func (r reached) Peer() link.Peer { return link.Peer{Instance: string(r)} }

// TestAnotherInstanceAtTheAddress checks which instances pass for the one that a stream was opened to.
func TestAnotherInstanceAtTheAddress(t *testing.T) {
	for name, c := range map[string]struct {
		id string
		// before and said are what the instances report that the first and the second stream reach.
		before, said string
		// known are the IDs of the other members.
		known []string
		gone  bool
	}{
		"the instance":                                   {id: "orders-1", said: "orders-1"},
		"a prefix of its ID":                             {id: "orders-1@dc", said: "orders-1"},
		"one that reports nothing":                       {id: "orders-1", before: "orders-1", said: "", known: []string{"orders-2"}},
		"one at an address that is the ID":               {id: "10.0.0.1:1", said: "orders-1"},
		"another at that address, later":                 {id: "10.0.0.1:1", before: "orders-1", said: "orders-2"},
		"another that has a member":                      {id: "orders-1", said: "orders-2", known: []string{"orders-2"}, gone: true},
		"another that has a member with a longer ID":     {id: "orders-1", said: "orders-2", known: []string{"orders-2@dc"}, gone: true},
		"another, after the instance itself was reached": {id: "orders-1", before: "orders-1", said: "orders-2", gone: true},
		"another, after one that reports nothing":        {id: "orders-1", before: "", said: "orders-2"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPort(t)
			p.update("s", append([]string{c.id}, c.known...)...)
			// The goroutine of the member does not check anything in this test.
			m := p.member(c.id)
			if err := p.Check(m, reached(c.before)); err != nil {
				t.Fatal(err)
			}
			err := p.Check(m, reached(c.said))
			if got := errors.Is(err, link.ErrProcessGone); got != c.gone || !got && err != nil {
				t.Errorf("got %v, want that it is gone: %t", err, c.gone)
			}
		})
	}
}

// TestAnInstanceThatVanishedIsKnownToTheEnd checks that a member counts as known until it is removed.
func TestAnInstanceThatVanishedIsKnownToTheEnd(t *testing.T) {
	p := newPort(t)
	p.update("s", "orders-1", "orders-2")
	p.update("s", "orders-1")
	if err := p.Check(p.member("orders-1"), reached("orders-2")); !errors.Is(err, link.ErrProcessGone) {
		t.Errorf("got %v", err)
	}
	m := &ship{Life: fleet.Life{ID: "orders-3", Service: "s"}}
	if err := p.Check(m, reached("orders-4")); err != nil {
		t.Errorf("got %v of an instance that nobody knows", err)
	}
	p.Update("s", []discovery.Instance{{ID: "orders-4"}}, func(in discovery.Instance) *ship {
		return &ship{Life: fleet.Life{ID: in.ID, Service: "s"}}
	})
	if err := p.Check(m, reached("orders-4")); !errors.Is(err, link.ErrProcessGone) {
		t.Errorf("got %v", err)
	}
}
