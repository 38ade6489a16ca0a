//go:build unix

package pubsub_test

import (
	"context"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/child"
	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/security"
)

// near makes a node in this process with a fixed list of publishers.
func near(t *testing.T, cfg link.Config, instances ...discovery.Instance) *link.Node {
	t.Helper()
	registry, err := static.New(instances...)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Registry, cfg.Addr, cfg.Logger = registry, "127.0.0.1:0", quiet()
	node, err := link.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	return node
}

// TestAKilledProcessThatPublishedIsGone kills a publisher that a fixed list shows forever, and expects that its host
// reports the end before silence can: a publisher frozen at the same moment is still connected then, and goes on later.
func TestAKilledProcessThatPublishedIsGone(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	var publishers []*child.Process
	var instances []discovery.Instance
	for _, id := range []string{"killed", "frozen"} {
		p := child.Start(t, publishes)
		publishers = append(publishers, p)
		instances = append(instances, discovery.Instance{ID: id, Service: "orders", Addr: p.Says("up")})
	}
	node := near(t, link.Config{}, instances...)
	s := subscribe(t, node, placed, pubsub.Reliable)
	last := make(map[string]uint64)
	next := func() pubsub.Message[order] {
		m := take(t, s, 1)[0]
		if had := last[m.Publisher]; m.Gap == nil && had != 0 && m.Seq != had+1 {
			t.Errorf("message %d of %s came after %d", m.Seq, m.Publisher, had)
		}
		last[m.Publisher] = m.Seq
		return m
	}
	for len(last) < 2 {
		next()
	}
	publishers[1].Freeze()
	publishers[0].Kill()
	died := time.Now()
	m := next()
	for m.Gap == nil {
		m = next()
	}
	took := time.Since(died)
	if m.Gap.Reason != "gone" {
		t.Errorf("gap %+v of %s", m.Gap, m.Publisher)
	}
	gone := m.Publisher
	for _, source := range pubsub.StatsOf(node).Subscriptions[0].Publishers {
		if source.Connected == (source.Instance == gone) {
			t.Errorf("%s is gone, and: %+v", gone, source)
		}
	}
	publishers[1].Thaw()
	thawed := time.Now()
	for m = next(); m.Gap == nil && m.Publisher == gone; {
		m = next()
	}
	if m.Gap != nil {
		t.Errorf("the one that was frozen had a gap: %+v", m.Gap)
	}
	t.Logf("told %v after the kill; the one that was frozen %v after it went on", took.Round(time.Millisecond), time.Since(thawed).Round(time.Millisecond))
}

// TestWhatAProcessThatIsGoneHadGoesToTheOthers checks that a new member of a group gets the messages of a member that
// closes and of one that is killed before those of a member that is frozen at the same moment.
func TestWhatAProcessThatIsGoneHadGoesToTheOthers(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	node := near(t, link.Config{Service: "orders"})
	p, err := pubsub.NewPublisher(node, placed)
	if err != nil {
		t.Fatal(err)
	}
	// Run returns when the node is closed.
	go func() { _ = node.Run(context.WithoutCancel(t.Context())) }()
	<-node.Ready()
	members := make(map[string]*child.Process)
	// had has the member that first received a message, by the message's ID.
	had := make(map[string]string)
	all := 0
	for _, name := range []string{"killed", "frozen", "closed"} {
		c := child.Start(t, reads, "LINK_PEERS=orders="+node.Addr())
		c.Says("up")
		// The earlier members have as many messages as they may.
		publish(t, p, all+1, all+childReads)
		for range childReads {
			had[c.Says("read")] = name
		}
		members[name], all = c, all+childReads
	}
	client := near(t, link.Config{}, discovery.Instance{ID: node.Instance(), Service: "orders", Addr: node.Addr()})
	members["closed"].End()
	members["frozen"].Freeze()
	members["killed"].Kill()
	died := time.Now()
	s := subscribe(t, client, placed, member()...)
	joined := time.Now()
	// order lists the members whose messages come, in the order in which they come.
	var order []string
	came := make(map[string]bool)
	for m := range s.Messages() {
		switch {
		case m.Err != nil:
			t.Fatal(m.Err)
		case m.Gap != nil:
			t.Errorf("gap %+v", m.Gap)
			continue
		case came[m.Value.ID]:
			t.Errorf("message %s came twice", m.Value.ID)
		}
		m.Ack()
		came[m.Value.ID] = true
		whose := had[m.Value.ID]
		if len(order) == 0 {
			t.Logf("the first message came %v after the new member had begun", time.Since(joined).Round(time.Millisecond))
		}
		if len(order) == 0 || order[len(order)-1] != whose {
			order = append(order, whose)
			t.Logf("what the one that is %s had came after %v", whose, time.Since(died).Round(time.Millisecond))
		}
		if len(came) == all {
			break
		}
	}
	if len(order) != 3 || order[2] != "frozen" {
		t.Errorf("what members had came in the order %v, want that of the one that is frozen last", order)
	}
}
