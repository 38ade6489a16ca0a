package discoverytest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
)

// findRegistry is a registry that also implements discovery.Finder.
type findRegistry interface {
	discovery.Registry
	discovery.Finder
}

// ifFinder returns a test that runs only for registries that implement discovery.Finder.
func ifFinder(test func(t *testing.T, k *kit, r findRegistry)) func(t *testing.T, k *kit) {
	return func(t *testing.T, k *kit) {
		if r, ok := k.registry(t).(findRegistry); ok {
			test(t, k, r)
		}
	}
}

// findCases returns the tests of discovery.Finder.
func findCases() []testcase {
	return []testcase{
		{"find: a tag that nobody has yields an empty list", ifFinder(findEmpty)},
		{"find: the services with a tag come and go", ifFinder(findComesAndGoes)},
		{"find: a service counts once and stays as long as one instance has the tag", ifFinder(findCountsOnce)},
		{"find: namespaces are apart", ifFinder(findNamespacesApart)},
		{"find: tags are apart", ifFinder(findTagsApart)},
		{"find: a slow receiver sees the newest and delays nobody", ifFinder(findSlowReceiver)},
		{"find: ending it closes its channel", ifFinder(findCancelCloses)},
		{"find: an invalid query is refused", ifFinder(findInvalidRefused)},
		{"find: a closed registry ends and refuses", ifFinder(findRegistryCloses)},
	}
}

// finder reads the lists of one Find and checks each of them.
type finder struct {
	k      *kit
	q      discovery.TagQuery
	ch     <-chan []string
	cancel context.CancelFunc
	last   []string
}

// newTag returns a unique tag.
func newTag() string { return newName("topic:shop") }

func (k *kit) find(t *testing.T, r discovery.Finder, q discovery.TagQuery) *finder {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ch, err := r.Find(ctx, q)
	if err != nil {
		t.Fatalf("Find %s: %v", q, err)
	}
	return &finder{k: k, q: q, ch: ch, cancel: cancel}
}

func (k *kit) findTag(t *testing.T, r discovery.Finder, tag string) *finder {
	t.Helper()
	return k.find(t, r, discovery.TagQuery{Tag: tag})
}

// next returns the next list.
func (f *finder) next(t *testing.T) []string {
	t.Helper()
	timer := time.NewTimer(f.k.Patience)
	defer timer.Stop()
	select {
	case list, ok := <-f.ch:
		if !ok {
			t.Fatalf("find %s: the channel closed although nobody ended it", f.q)
		}
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Fatalf("find %s: not sorted, or with repeats: %q", f.q, list)
		}
		f.last = list
		return list
	case <-timer.C:
		t.Fatalf("find %s: nothing within %v; the last list was %q", f.q, f.k.Patience, f.last)
		return nil
	}
}

// until reads until a list holds exactly these services.
func (f *finder) until(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	for {
		if slices.Equal(f.next(t), want) {
			return
		}
	}
}

// untilClosed reads until the channel is closed.
func (f *finder) untilClosed(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(f.k.Patience)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-f.ch:
			if !ok {
				return
			}
		case <-timer.C:
			t.Fatalf("find %s: the channel is not closed within %v", f.q, f.k.Patience)
		}
	}
}

// tagged returns a new instance of a new service with tags.
func tagged(tags ...string) discovery.Instance {
	in := instance(newName("orders"))
	in.Tags = tags
	return in
}

func findEmpty(t *testing.T, k *kit, r findRegistry) {
	if list := k.findTag(t, r, newTag()).next(t); len(list) != 0 {
		t.Errorf("services %q before anybody registered", list)
	}
	register(t, r, tagged("v2"))
	if list := k.findTag(t, r, newTag()).next(t); len(list) != 0 {
		t.Errorf("services %q with a tag that nobody has", list)
	}
}

func findComesAndGoes(t *testing.T, k *kit, r findRegistry) {
	tag := newTag()
	a, b := tagged("v2"), tagged("v1", tag)
	ga := register(t, r, a)
	early := k.findTag(t, r, tag)
	gb := register(t, r, b)
	early.until(t, b.Service)
	a.Tags = []string{"v2", tag}
	update(t, ga, a)
	early.until(t, a.Service, b.Service)
	late := k.findTag(t, r, tag)
	late.until(t, a.Service, b.Service)

	// A draining instance still counts.
	a.Status = discovery.Draining
	update(t, ga, a)
	closeNow(t, gb)
	early.until(t, a.Service)
	late.until(t, a.Service)
	a.Tags = nil
	update(t, ga, a)
	early.until(t)
	late.until(t)
}

func findCountsOnce(t *testing.T, k *kit, r findRegistry) {
	tag := newTag()
	a := tagged(tag)
	other := instance(a.Service)
	other.Tags = []string{tag, "v2"}
	marker := tagged(tag)
	ga, gother := register(t, r, a), register(t, r, other)
	f := k.findTag(t, r, tag)
	f.until(t, a.Service)
	closeNow(t, ga)
	register(t, r, marker)
	f.until(t, a.Service, marker.Service)
	other.Tags = []string{"v2"}
	update(t, gother, other)
	f.until(t, marker.Service)
}

func findNamespacesApart(t *testing.T, k *kit, r findRegistry) {
	tag := newTag()
	here, there := tagged(tag), tagged(tag)
	there.Namespace = newName("shop")
	// both is the same service in the default namespace, where it does not have the tag.
	both := instance(there.Service)
	register(t, r, there)
	register(t, r, both)
	register(t, r, here)
	k.findTag(t, r, tag).until(t, here.Service)
	k.find(t, r, discovery.TagQuery{Tag: tag, Namespace: discovery.DefaultNamespace}).until(t, here.Service)
	k.find(t, r, discovery.TagQuery{Tag: tag, Namespace: there.Namespace}).until(t, there.Service)
}

func findTagsApart(t *testing.T, k *kit, r findRegistry) {
	tag := newTag()
	longer := tag + "/größe=\"m\""
	a, b := tagged(tag), tagged(longer)
	fa, fb := k.findTag(t, r, tag), k.findTag(t, r, longer)
	register(t, r, b)
	fb.until(t, b.Service)
	register(t, r, a)
	fa.until(t, a.Service)
	c := tagged(tag, longer)
	register(t, r, c)
	fa.until(t, a.Service, c.Service)
	fb.until(t, b.Service, c.Service)
}

func findSlowReceiver(t *testing.T, k *kit, r findRegistry) {
	const services = 8
	tag := newTag()
	slow, quick := k.findTag(t, r, tag), k.findTag(t, r, tag)
	var want []string
	for i := range services {
		in := tagged(tag)
		in.Service = "n" + strconv.Itoa(i) + "-" + in.Service
		want = append(want, in.Service)
		register(t, r, in)
		quick.until(t, want...)
	}
	// As with Watch, the newest list is the first or the second that it receives.
	for read := 1; len(slow.next(t)) != services; read++ {
		if read == 2 {
			t.Fatalf("a slow receiver has to work through old lists: %q", slow.last)
		}
	}
	if got := cap(slow.ch); got != 1 {
		t.Errorf("the channel holds %d lists, want 1", got)
	}
}

func findCancelCloses(t *testing.T, k *kit, r findRegistry) {
	tag := newTag()
	ended, unread, stays := k.findTag(t, r, tag), k.findTag(t, r, tag), k.findTag(t, r, tag)
	ended.next(t)
	ended.cancel()
	unread.cancel()
	ended.untilClosed(t)
	unread.untilClosed(t)
	in := tagged(tag)
	register(t, r, in)
	stays.until(t, in.Service)
}

func findInvalidRefused(t *testing.T, _ *kit, r findRegistry) {
	for _, c := range []struct {
		field string
		q     discovery.TagQuery
	}{
		{"Tag", discovery.TagQuery{}},
		{"Tag", discovery.TagQuery{Tag: "a b"}},
		{"Tag", discovery.TagQuery{Tag: "a\n", Namespace: "shop"}},
		{"Namespace", discovery.TagQuery{Tag: "v2", Namespace: "a b"}},
	} {
		_, err := r.Find(t.Context(), c.q)
		refused(t, "Find "+c.q.String(), err, discovery.ErrInvalidQuery)
		var fe *discovery.FieldError
		if !errors.As(err, &fe) || fe.Field != c.field {
			t.Errorf("error %v does not name %s", err, c.field)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Find(ctx, discovery.TagQuery{Tag: "v2"})
	refused(t, "Find with an ended context", err, context.Canceled)
}

func findRegistryCloses(t *testing.T, k *kit, r findRegistry) {
	c, ok := r.(io.Closer)
	if !ok {
		return
	}
	f := k.findTag(t, r, newTag())
	f.next(t)
	closeNow(t, c)
	f.untilClosed(t)
	_, err := r.Find(t.Context(), f.q)
	refused(t, "Find after Close", err, discovery.ErrClosed)
}

func sharedFind(t *testing.T, k *kit) {
	a, other := k.pair(t)
	b, ok := other.(discovery.Finder)
	if !ok {
		return
	}
	tag := newTag()
	in := instance(newName("orders"))
	g := register(t, a, in)
	f := k.findTag(t, b, tag)
	in.Tags = []string{tag}
	update(t, g, in)
	f.until(t, in.Service)
	in.Tags = nil
	update(t, g, in)
	f.until(t)
}
