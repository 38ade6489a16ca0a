package feed

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var orders = discovery.Query{Service: "orders"}.Normalized()

func list(ids ...string) []discovery.Instance {
	var all []discovery.Instance
	for _, id := range ids {
		all = append(all, discovery.Instance{ID: id, Service: "orders", Addr: "192.0.2.1:7443"}.Normalized())
	}
	return all
}

func openWatch(ctx context.Context, t *testing.T, f *Feed) <-chan discovery.Snapshot {
	t.Helper()
	ch, err := f.Watch(ctx, orders)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func TestOnlyChangesAreDelivered(t *testing.T) {
	f := New("test")
	defer f.Close()
	ch := openWatch(t.Context(), t, f)
	if _, waiting := f.Queries(); !waiting || len(ch) != 0 {
		t.Error("a new query does not wait for its state")
	}
	f.Publish(orders, nil)
	first := <-ch
	if first.Version == 0 || len(first.Instances) != 0 || first.Source != "test" {
		t.Errorf("first snapshot %+v", first)
	}
	if queries, waiting := f.Queries(); waiting || len(queries) != 1 || queries[0] != orders {
		t.Errorf("queries %v, waiting %t", queries, waiting)
	}
	f.Publish(orders, nil)
	if len(ch) != 0 {
		t.Error("the same state was delivered again")
	}
	f.Publish(orders, list("a"))
	f.Publish(orders, list("a", "b"))
	if s := <-ch; len(s.Instances) != 2 || s.Version <= first.Version {
		t.Errorf("not the newest: %+v", s)
	}
	if len(ch) != 0 {
		t.Error("an old snapshot is left")
	}
	late := openWatch(t.Context(), t, f)
	if s := <-late; len(s.Instances) != 2 {
		t.Errorf("a late watch begins with %+v", s)
	}
}

func TestStaleKeepsTheLastStateAndIsSaidOnce(t *testing.T) {
	f := New("test")
	defer f.Close()
	ch := openWatch(t.Context(), t, f)
	f.Publish(orders, list("a"))
	good := <-ch
	f.Stale("gone")
	s := <-ch
	if !s.Stale || len(s.Instances) != 1 || !s.At.Equal(good.At) || s.Version <= good.Version {
		t.Errorf("stale snapshot %+v", s)
	}
	if s.Reason != "gone" {
		t.Errorf("reason %q", s.Reason)
	}
	f.Stale("gone still")
	f.StaleOne(orders, "gone still")
	if len(ch) != 0 {
		t.Error("stale twice")
	}
	f.Publish(orders, list("a"))
	if s := <-ch; s.Stale || s.Reason != "" {
		t.Errorf("still stale: %+v", s)
	}
}

func TestAWatchOfAnUnreadableRegistryLearnsSo(t *testing.T) {
	f := New("test")
	defer f.Close()
	ch := openWatch(t.Context(), t, f)
	f.Stale("gone")
	if s := <-ch; !s.Stale || len(s.Instances) != 0 || !s.At.IsZero() || s.Service != "orders" || s.Namespace != "default" {
		t.Errorf("snapshot %+v", s)
	}
	f.Publish(orders, nil)
	if s := <-ch; s.Stale || s.At.IsZero() {
		t.Errorf("snapshot %+v", s)
	}
}

func TestWatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New("test")
		defer f.Close()
		ctx, cancel := context.WithCancel(t.Context())
		for range MaxWatches {
			openWatch(ctx, t, f)
		}
		if _, err := f.Watch(t.Context(), orders); !errors.Is(err, discovery.ErrLimit) {
			t.Errorf("error %v, want ErrLimit", err)
		}
		cancel()
		synctest.Wait()
		if queries, _ := f.Queries(); len(queries) != 0 {
			t.Errorf("queries left: %v", queries)
		}
		openWatch(t.Context(), t, f)
	})
}

func TestCloseEndsWatchesOnceWhenTheirContextEndsToo(t *testing.T) {
	for range 200 {
		f := New("test")
		ctx, cancel := context.WithCancel(t.Context())
		ch := openWatch(ctx, t, f)
		f.Publish(orders, list("a"))
		go cancel()
		f.Close()
		f.Close()
		if s, ok := <-ch; !ok || len(s.Instances) != 1 {
			t.Errorf("the unread snapshot is lost: %+v, %t", s, ok)
		}
		for range ch {
			t.Error("more than one snapshot was left")
		}
		f.Publish(orders, list("b"))
		if _, err := f.Watch(t.Context(), orders); !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("error %v, want ErrClosed", err)
		}
	}
}

func TestOneQueryIsStaleAlone(t *testing.T) {
	f := New("test")
	defer f.Close()
	ch := openWatch(t.Context(), t, f)
	other, err := f.Watch(t.Context(), discovery.Query{Service: "billing"})
	if err != nil {
		t.Fatal(err)
	}
	f.Publish(orders, list("a"))
	<-ch
	f.StaleOne(orders, "no answer")
	if s := <-ch; !s.Stale || s.Reason != "no answer" || len(s.Instances) != 1 {
		t.Errorf("snapshot %+v", s)
	}
	if len(other) != 0 {
		t.Error("another query became stale as well")
	}
}

func TestAStateFromElsewhereIsStaleUntilTheRegistrySpeaks(t *testing.T) {
	f := New("test")
	defer f.Close()
	ch := openWatch(t.Context(), t, f)
	at := time.Unix(1_700_000_000, 0)
	f.PublishStale(orders, list("a"), at, "from disk")
	if s := <-ch; !s.Stale || s.Reason != "from disk" || !s.At.Equal(at) || len(s.Instances) != 1 {
		t.Errorf("snapshot %+v", s)
	}
	f.PublishStale(orders, list("a"), at, "from disk")
	if len(ch) != 0 {
		t.Error("the same state was delivered again")
	}
	f.Publish(orders, list("a"))
	if s := <-ch; s.Stale || s.Reason != "" {
		t.Errorf("snapshot %+v", s)
	}
}
