package discoverytest

import (
	"context"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
)

func seen(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	register(t, r, in)
	k.watchService(t, r, in.Service).untilIDs(t, in.ID)
}

func seenTogether(t *testing.T, k *kit) {
	r := k.registry(t)
	a := instance(newName("orders"))
	b := instance(a.Service)
	w := k.watchService(t, r, a.Service)
	register(t, r, a)
	w.untilIDs(t, a.ID)
	register(t, r, b)
	w.untilIDs(t, a.ID, b.ID)
}

func arrivesWhole(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	in.Namespace = newName("shop")
	in.Addr = "[2001:db8::5]:7443"
	in.Tags = []string{"zone=eu-1a", "v2", "größe=m", "v2"}
	in.Meta = map[string]string{"build": "1", "owner": "team a, ext. 7", "empty": ""}
	in.Weight = 17
	in.Status = discovery.Draining
	in.Started = time.Date(2026, 11, 21, 12, 30, 15, 987_654_321, time.FixedZone("", 3600))
	register(t, r, in)

	got := k.watch(t, r, in.Query()).untilIDs(t, in.ID).Instances[0]
	if want := in.Normalized(); !same(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Weight != 17 || got.Status != discovery.Draining || len(got.Tags) != 3 || len(got.Meta) < 3 {
		t.Errorf("fields were lost: %+v", got)
	}

	plain := instance(in.Service)
	register(t, r, plain)
	got = k.watch(t, r, plain.Query()).untilIDs(t, plain.ID).Instances[0]
	if got.Namespace != discovery.DefaultNamespace || got.Weight != discovery.DefaultWeight ||
		got.Status != discovery.Serving || !got.Started.IsZero() {
		t.Errorf("defaults are not filled in: %+v", got)
	}
}

func updateSeen(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	in.Tags = []string{"v1"}
	g := register(t, r, in)
	w := k.watchService(t, r, in.Service)
	w.untilIDs(t, in.ID)

	in.Tags = []string{"v2", "canary"}
	in.Meta = map[string]string{"build": "7"}
	in.Addr = "192.0.2.11:7443"
	in.Weight = 5
	update(t, g, in)
	want := in.Normalized()
	w.until(t, "updated instance", func(s discovery.Snapshot) bool {
		if len(s.Instances) != 1 || s.Instances[0].ID != in.ID {
			t.Fatalf("an update must show the old or the new instance, got %+v", s.Instances)
		}
		return same(s.Instances[0], want)
	})
}

func drainSeen(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	g := register(t, r, in)
	w := k.watchService(t, r, in.Service)
	if s := w.untilIDs(t, in.ID); s.Instances[0].Status != discovery.Serving {
		t.Errorf("status %v before draining", s.Instances[0].Status)
	}
	for _, status := range []discovery.Status{discovery.Draining, discovery.Serving} {
		in.Status = status
		update(t, g, in)
		w.until(t, "status "+status.String(), func(s discovery.Snapshot) bool {
			return len(s.Instances) == 1 && s.Instances[0].Status == status
		})
	}
}

func closedGone(t *testing.T, k *kit) {
	r := k.registry(t)
	a := instance(newName("orders"))
	b := instance(a.Service)
	ga := register(t, r, a)
	gb := register(t, r, b)
	w := k.watchService(t, r, a.Service)
	w.untilIDs(t, a.ID, b.ID)
	closeNow(t, ga)
	w.untilIDs(t, b.ID)
	closeNow(t, gb)
	w.untilIDs(t)
}

func idFreeAgain(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	w := k.watchService(t, r, in.Service)
	for range 3 {
		g := register(t, r, in)
		w.untilIDs(t, in.ID)
		closeNow(t, g)
		w.untilIDs(t)
	}
}

func closeTwice(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	first := register(t, r, in)
	closeNow(t, first)
	closeNow(t, first)

	// Closing the first registration again must not withdraw the second one of the ID.
	register(t, r, in)
	closeNow(t, first)
	other := instance(in.Service)
	register(t, r, other)
	k.watchService(t, r, in.Service).untilIDs(t, in.ID, other.ID)
}

func updateAfterClose(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	g := register(t, r, in)
	closeNow(t, g)
	refused(t, "Update after Close", g.Update(t.Context(), in), discovery.ErrClosed)
	other := instance(in.Service)
	register(t, r, other)
	k.watchService(t, r, in.Service).untilIDs(t, other.ID)
}

func registerContextEnds(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	ctx, cancel := context.WithCancel(t.Context())
	g, err := r.Register(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	other := instance(in.Service)
	register(t, r, other)
	k.watchService(t, r, in.Service).untilIDs(t, in.ID, other.ID)
	in.Tags = []string{"v2"}
	update(t, g, in)
	closeNow(t, g)
}
