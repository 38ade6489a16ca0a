package receive

import (
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/security"
)

// TestWhatComesAgainFitsAFrame checks that the SUBSCRIBE of a subscription that resumes fits a
// frame, however many messages wait for an ack.
func TestWhatComesAgainFitsAFrame(t *testing.T) {
	m := newMember("orders", "orders-1", &frame.Subscribe{Class: uint8(journal.AtLeastOnce), Limits: frame.Limits{Messages: journal.MaxWindow}}, false)
	for seq := range uint64(100_000) {
		m.out[2*seq+1<<40] = held{}
	}
	m.tracker = journal.NewTracker(journal.AtLeastOnce, journal.Position{Epoch: 1, Seq: [journal.Lanes]uint64{1 << 41, 1 << 41, 1 << 41}})
	f, err := frame.Encode(frame.KindSubscribe, m.ask())
	if err != nil || len(f.Body) > frame.MaxSubscribe {
		t.Errorf("a SUBSCRIBE of %d bytes, want at most %d; %v", len(f.Body), frame.MaxSubscribe, err)
	}
}

// TestWhoIsOutsideOfTheTrustDomain checks that a peer of another trust domain is told from one of the node's own.
func TestWhoIsOutsideOfTheTrustDomain(t *testing.T) {
	node := linktest.NewMesh(t).Node(link.Config{})
	for domain, want := range map[string]bool{node.Identity().TrustDomain(): false, "partner.test": true} {
		id, err := security.NewID(domain, "default", "orders")
		if err != nil {
			t.Fatal(err)
		}
		if got := outside(node, link.Peer{Identity: id}); got != want {
			t.Errorf("%s is outside: %t, want %t", id, got, want)
		}
	}
}
