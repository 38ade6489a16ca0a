package pubsub_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

var logins = pubsub.NewSharedTopic[order]("audit.logins")

// sharer starts a node of a service that publishes to logins.
func sharer(t *testing.T, mesh *linktest.Mesh, service string) (*link.Node, *pubsub.Publisher[order]) {
	t.Helper()
	node := mesh.Node(link.Config{Service: service})
	p, err := pubsub.NewPublisher(node, logins)
	if err != nil {
		t.Fatal(err)
	}
	mesh.Start(node)
	return node, p
}

func TestASharedTopicIsFoundByItsTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, a := sharer(t, mesh, "web")
		_, b := sharer(t, mesh, "mobile")
		// This one publishes to a topic that is not shared.
		_, other := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{Service: "siem"})
		s := subscribe(t, client, logins)
		publish(t, other, 100, 100)
		publish(t, a, 1, 3)
		publish(t, b, 4, 6)
		from := make(map[string]int)
		for _, m := range take(t, s, 6) {
			if m.Gap != nil || m.Topic != "audit.logins" {
				t.Errorf("got %+v", m)
			}
			from[m.Peer().Service()]++
		}
		if from["web"] != 3 || from["mobile"] != 3 {
			t.Errorf("messages by service: %v", from)
		}

		// A service that begins to publish later is joined within a second, from its first
		// message on.
		_, c := sharer(t, mesh, "batch")
		publish(t, c, 7, 7)
		began := time.Now()
		if m := take(t, s, 1)[0]; m.Value.ID != "7" || m.Peer().Service() != "batch" || time.Since(began) > time.Second {
			t.Errorf("after %v: %+v", time.Since(began), m)
		}
		wide := subscribe(t, client, pubsub.NewSharedTopic[order]("audit.>"), pubsub.FromOldest())
		if got := take(t, wide, 7); got[0].Topic != "audit.logins" {
			t.Errorf("got %+v", got[0])
		}
	})
}

func TestAPublisherThatClosesIsNotFoundByNewSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, a := sharer(t, mesh, "web")
		_, b := sharer(t, mesh, "mobile")
		a.Close()
		// The second Close does nothing.
		a.Close()
		sleep(2 * time.Second)
		s := subscribe(t, mesh.Node(link.Config{}), logins)
		publish(t, a, 1, 1)
		publish(t, b, 2, 2)
		if m := take(t, s, 1)[0]; m.Peer().Service() != "mobile" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestASharedTopicNeedsItsFirstToken(t *testing.T) {
	mesh := linktest.NewMesh(t)
	node := mesh.Node(link.Config{Service: "web"})
	for _, name := range []string{">", "*.logins"} {
		if _, err := pubsub.Subscribe(t.Context(), node, pubsub.NewSharedTopic[order](name)); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := pubsub.NewPublisher(mesh.Node(link.Config{}), logins); !errors.Is(err, link.FailedPrecondition) {
		t.Errorf("a node that nobody finds: %v", err)
	}
}

// TestSharedAndOwnTopicsAreApart publishes to a shared topic and to a service's topic with the same
// name, and expects that each subscriber gets the messages of its own.
func TestSharedAndOwnTopicsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "orders"})
		ownPublisher, err := pubsub.NewPublisher(node, placed)
		if err != nil {
			t.Fatal(err)
		}
		common, err := pubsub.NewPublisher(node, pubsub.NewSharedTopic[order]("placed"))
		if err != nil {
			t.Fatal(err)
		}
		mesh.Start(node)
		client := mesh.Node(link.Config{})
		a := subscribe(t, client, pubsub.NewTopic[order]("orders", ">"))
		b := subscribe(t, client, pubsub.NewSharedTopic[order]("placed"))
		publish(t, common, 1, 1)
		publish(t, ownPublisher, 2, 2)
		for name, got := range map[string]pubsub.Message[order]{"2": take(t, a, 1)[0], "1": take(t, b, 1)[0]} {
			if fmt.Sprint(got.Value.ID) != name || got.Topic != "placed" {
				t.Errorf("want message %s, got %+v", name, got)
			}
		}
	})
}
