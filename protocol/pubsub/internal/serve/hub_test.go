package serve

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/security"
)

// anybody are rules by which every peer may subscribe, and nobody make publishers wait.
type anybody struct{}

func (anybody) MayRead(link.Peer, string, string, time.Duration) error { return nil }
func (anybody) MostBlock() time.Duration                               { return 0 }

// near is the sink of a subscriber of the publisher's node, to which nothing is sent.
type near struct{ frame.Sink }

func (near) Draining() <-chan struct{} { return nil }

func newTestHub(t *testing.T) *Hub {
	t.Helper()
	h, err := New(linktest.NewMesh(t).Node(link.Config{Service: "orders"}), anybody{})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func peerAt(t *testing.T, id, instance, addr string, advisory bool) link.Peer {
	t.Helper()
	identity, err := security.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return link.Peer{Identity: identity, Instance: instance, Addr: addr, Advisory: advisory}
}

// TestATakenNameLocksNobodyOut checks that where identities are only advisory, a subscriber that
// takes the name and the instance of another one is counted separately, because its address differs.
func TestATakenNameLocksNobodyOut(t *testing.T) { // SEC-358
	h := newTestHub(t)
	const name = "spiffe://link.test/ns/default/svc/billing"
	mallory, victim := peerAt(t, name, "billing-1", "10.0.0.9:1000", true), peerAt(t, name, "billing-1", "10.0.0.1:1000", true)
	for i := range MaxSubscriptions {
		if _, err := h.admit(mallory); err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
	}
	if _, err := h.admit(mallory); !errors.Is(err, link.ResourceExhausted) {
		t.Errorf("one more than MaxSubscriptions: %v", err)
	}
	for i := range MaxSubscriptions {
		if _, err := h.admit(victim); err != nil {
			t.Fatalf("the owner of the name, after %d: %v", i, err)
		}
	}
}

// TestOneMemberLeavesOthersSubscriptions checks that a member with one name or, where identities
// are only advisory, with many at one address, has no more than half of the subscriptions that the
// log holds, and that all of them are given back.
func TestOneMemberLeavesOthersSubscriptions(t *testing.T) { // SEC-358
	for _, free := range []bool{false, true} {
		t.Run(fmt.Sprintf("names free %t", free), func(t *testing.T) {
			h := newTestHub(t)
			var release []func()
			for i := range journal.MaxSubscriptions {
				name := "spiffe://link.test/ns/default/svc/mallory"
				if free {
					name = fmt.Sprintf("spiffe://link.test/ns/default/svc/mallory-%d", i/1000)
				}
				done, err := h.admit(peerAt(t, name, fmt.Sprint(i/MaxSubscriptions), "10.0.0.9:1000", free))
				if err == nil {
					release = append(release, done)
				} else if !errors.Is(err, link.ResourceExhausted) {
					t.Fatal(err)
				}
			}
			most := maxPerService
			if free {
				most = journal.MaxSubscriptions / 2
			}
			if n := len(release); n > most || n < most/2 {
				t.Errorf("one member has %d subscriptions, want at most %d", n, most)
			}
			for i := range MaxSubscriptions {
				if _, err := h.admit(peerAt(t, "spiffe://link.test/ns/default/svc/billing", "billing-1", "10.0.0.1:1000", free)); err != nil {
					t.Fatalf("an honest one, after %d: %v", i, err)
				}
			}
			for _, done := range release {
				done()
			}
			if used := h.subscriptions.Used(); used != MaxSubscriptions || len(h.peers) != 1 {
				t.Errorf("%d subscriptions of %d nodes are counted when the attacker is gone", used, len(h.peers))
			}
		})
	}
}

// TestWhoComesAndGoesDisturbsNoOthers checks that a session that publishers do not wait for joins and
// leaves without allocations, and without changing the list that publishers read, however many others
// there are.
func TestWhoComesAndGoesDisturbsNoOthers(t *testing.T) {
	h := newTestHub(t)
	for range 1000 {
		h.join(&session{out: near{}, hub: h, block: 1, patterns: []string{"a"}})
	}
	blocking := h.blocking.Load()
	w := h.watch("b")
	defer h.unwatch(w)
	s := &session{out: near{}, hub: h, patterns: []string{"b"}}
	if got := testing.AllocsPerRun(100, func() {
		h.join(s)
		if h.matching(w) != 1 {
			t.Error("who waits for a session was not told")
		}
		h.leave(s)
	}); got > 0 || h.blocking.Load() != blocking {
		t.Errorf("a session that came and went beside 1000 others made %v allocations, or the list of those that publishers wait for anew", got)
	}
	if h.matching(w) != 0 {
		t.Error("who waits for a session was not told that it has gone")
	}
}
