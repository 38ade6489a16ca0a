package discoverytest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/linkmesh/link/discovery"
)

func watchFirst(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	w := k.watchService(t, r, in.Service)
	if s := w.next(t); len(s.Instances) != 0 {
		t.Fatalf("instances before anybody registered: %+v", s.Instances)
	}
	register(t, r, in)
	w.untilIDs(t, in.ID)
}

func unknownEmpty(t *testing.T, k *kit) {
	r := k.registry(t)
	register(t, r, instance(newName("orders")))
	w := k.watchService(t, r, newName("nobody"))
	if s := w.next(t); len(s.Instances) != 0 {
		t.Errorf("unknown service has %+v", s.Instances)
	}
}

func slowReceiver(t *testing.T, k *kit) {
	const updates = 20
	r := k.registry(t)
	in := instance(newName("orders"))
	slow := k.watchService(t, r, in.Service)
	quick := k.watchService(t, r, in.Service)
	g := register(t, r, in)
	has := func(tag string) func(discovery.Snapshot) bool {
		return func(s discovery.Snapshot) bool {
			return len(s.Instances) == 1 && slices.Contains(s.Instances[0].Tags, tag)
		}
	}
	var last string
	for i := range updates {
		last = "n=" + strconv.Itoa(i)
		in.Tags = []string{last}
		update(t, g, in)
		quick.until(t, "tag "+last, has(last))
	}
	// The slow watch has not read anything so far. It may be slightly behind the quick one, so the
	// newest snapshot is the first or the second that it receives, never the twentieth.
	for read := 1; !has(last)(slow.next(t)); read++ {
		if read == 2 {
			t.Fatalf("a slow receiver has to work through old snapshots: %+v", slow.last)
		}
	}
	if got := cap(slow.ch); got != 1 {
		t.Errorf("the channel holds %d snapshots, want 1", got)
	}
}

func cancelCloses(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	ended := k.watchService(t, r, in.Service)
	unread := k.watchService(t, r, in.Service)
	stays := k.watchService(t, r, in.Service)
	ended.next(t)
	ended.cancel()
	unread.cancel()
	ended.untilClosed(t)
	unread.untilClosed(t)
	register(t, r, in)
	stays.untilIDs(t, in.ID)
}

func cancelLeaksNothing(t *testing.T, k *kit) {
	const watches, services, slack = 1000, 20, 10
	r := k.registry(t)
	warm := k.watchService(t, r, newName("warm"))
	warm.next(t)
	before := runtime.NumGoroutine()

	names := make([]string, services)
	for i := range names {
		names[i] = newName("orders")
	}
	open := make([]*watcher, 0, watches)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range watches {
		q := discovery.Query{Service: names[i%services]}
		ch, err := r.Watch(ctx, q)
		if err != nil {
			t.Fatalf("watch %d: %v", i, err)
		}
		open = append(open, &watcher{k: k, q: q.Normalized(), ch: ch})
	}
	for _, w := range open {
		w.next(t)
	}
	cancel()
	for _, w := range open {
		w.untilClosed(t)
	}
	k.eventually(t,
		func() bool { return runtime.NumGoroutine() <= before+slack },
		func() string {
			return fmt.Sprintf("%d goroutines, %d before %d watches came and went", runtime.NumGoroutine(), before, watches)
		})
	in := instance(warm.q.Service)
	register(t, r, in)
	warm.untilIDs(t, in.ID)
}

func namespacesApart(t *testing.T, k *kit) {
	r := k.registry(t)
	here := instance(newName("orders"))
	there := instance(here.Service)
	there.Namespace = newName("shop")
	register(t, r, there)
	register(t, r, here)
	// Each watcher checks that every snapshot holds only its own namespace.
	k.watchService(t, r, here.Service).untilIDs(t, here.ID)
	k.watch(t, r, discovery.Query{Service: here.Service, Namespace: discovery.DefaultNamespace}).untilIDs(t, here.ID)
	k.watch(t, r, there.Query()).untilIDs(t, there.ID)
}

func servicesApart(t *testing.T, k *kit) {
	r := k.registry(t)
	a := instance(newName("orders"))
	// The names share a prefix.
	b := instance(a.Service + "-archive")
	wa, wb := k.watchService(t, r, a.Service), k.watchService(t, r, b.Service)
	gb := register(t, r, b)
	wb.untilIDs(t, b.ID)
	register(t, r, a)
	wa.untilIDs(t, a.ID)
	closeNow(t, gb)
	wb.untilIDs(t)
	second := instance(a.Service)
	register(t, r, second)
	wa.untilIDs(t, a.ID, second.ID)
}

func sorted(t *testing.T, k *kit) {
	r := k.registry(t)
	service := newName("orders")
	w := k.watchService(t, r, service)
	var want []string
	// The IDs are unsorted, and their order changes with a file suffix or if case is ignored.
	for _, id := range []string{"m", "a.b", "Y", "a-b", "a", "z", "a0", "B"} {
		in := instance(service)
		in.ID = service + "." + id
		want = append(want, in.ID)
		register(t, r, in)
	}
	w.untilIDs(t, want...)
}

func immutable(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	in.Tags = []string{"v1", "eu"}
	in.Meta = map[string]string{"build": "1"}
	g := register(t, r, in)
	w := k.watchService(t, r, in.Service)
	first := w.untilIDs(t, in.ID)
	was := copyOf(first)

	in.Tags, in.Meta = []string{"v2"}, map[string]string{"build": "2"}
	update(t, g, in)
	other := instance(in.Service)
	register(t, r, other)
	w.until(t, "both changes", func(s discovery.Snapshot) bool {
		return len(s.Instances) == 2 && slices.ContainsFunc(s.Instances, func(got discovery.Instance) bool { return same(got, in.Normalized()) })
	})
	if !slices.EqualFunc(first.Instances, was, discovery.Instance.Equal) {
		t.Errorf("a delivered snapshot changed from %+v to %+v", was, first.Instances)
	}
}

func ownCopy(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	in.Tags = []string{"v1", "eu"}
	in.Meta = map[string]string{"build": "1"}
	want := in.Normalized()
	register(t, r, in)
	in.Tags[0], in.Meta["build"] = "changed", "changed"
	got := k.watchService(t, r, in.Service).untilIDs(t, in.ID).Instances[0]
	if !same(got, want) {
		t.Errorf("the caller's later changes are announced: %+v", got)
	}
}
