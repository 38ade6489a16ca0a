package integration

import (
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/integration/internal/agent"
)

// names reads the lists of one FollowTag.
type names struct {
	t  *testing.T
	ch <-chan []string
}

func followTag(t *testing.T, n *link.Node, tag string) *names {
	t.Helper()
	ch, err := link.HostOf(n).FollowTag(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	return &names{t, ch}
}

// next returns the next list. The wait for it is over when the time is.
func (n *names) next(timer *time.Timer, want []string) []string {
	n.t.Helper()
	select {
	case list, ok := <-n.ch:
		if !ok {
			n.t.Fatalf("the channel closed while waiting for %q", want)
		}
		return list
	case <-timer.C:
		n.t.Fatalf("not %q within %v", want, within)
		return nil
	}
}

// until reads on until a list holds exactly these services, which are in order.
func (n *names) until(want ...string) {
	n.t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		if slices.Equal(n.next(timer, want), want) {
			return
		}
	}
}

// only fails unless these services, which are in order, are the next list.
func (n *names) only(want ...string) {
	n.t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	if list := n.next(timer, want); !slices.Equal(list, want) {
		n.t.Errorf("the next list is %q, want %q", list, want)
	}
}

// TestServicesAreFoundByTagWithinASecond lets nodes of two services, each with a registry of its own,
// announce a tag while they run, and withdraw it. Each round has clients of its own, as one that has
// just asked waits for a second before it asks again.
//
//nolint:paralleltest // it measures
func TestServicesAreFoundByTagWithinASecond(t *testing.T) {
	const tag, other = `topic:"größe"\shop`, "topic:other"
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	shop, desk := m.start("shop", m.registry(a.Address()), link.Config{}), m.start("desk", m.registry(a.Address()), link.Config{Tags: []string{other}})
	<-shop.Ready()
	<-desk.Ready()
	add := func(s *server) {
		t.Helper()
		if err := link.HostOf(s.Node).AddTag(tag); err != nil {
			t.Fatal(err)
		}
	}
	var came, gone []time.Duration
	for range rounds {
		found := followTag(t, m.client(m.registry(a.Address())), tag)
		found.until()
		begin := time.Now()
		add(shop)
		found.until("shop")
		came = append(came, time.Since(begin))
		add(desk)
		found.until("desk", "shop")

		found = followTag(t, m.client(m.registry(a.Address())), tag)
		found.until("desk", "shop")
		begin = time.Now()
		link.HostOf(shop.Node).RemoveTag(tag)
		found.until("desk")
		gone = append(gone, time.Since(begin))
		link.HostOf(desk.Node).RemoveTag(tag)
		found.until()
	}
	median(t, a, "a tag that is announced", came)
	median(t, a, "a tag that is withdrawn", gone)

	found := followTag(t, m.client(m.registry(a.Address())), other)
	found.until("desk")
	desk.stop()
	found.until()
}

// TestNamesOutliveTheAgent stops the agent and lets it come back with nothing.
func TestNamesOutliveTheAgent(t *testing.T) {
	t.Parallel()
	const tag = "topic:shop"
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	shop := m.start("shop", m.registry(a.Address()), link.Config{Tags: []string{tag}})
	<-shop.Ready()
	client := m.client(m.registry(a.Address()))
	found := followTag(t, client, tag)
	found.until("shop")
	a.Kill()
	late := followTag(t, client, tag)
	late.until("shop")
	a.RestartEmpty()
	desk := m.start("desk", m.registry(a.Address()), link.Config{Tags: []string{tag}})
	<-desk.Ready()
	found.only("desk", "shop") // shop was never gone
	late.only("desk", "shop")
}
