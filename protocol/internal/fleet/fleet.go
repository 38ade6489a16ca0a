// Package fleet keeps one stream to each instance of a service, which is what a subscription does
// with publishers and a queue with workers.
//
// # Overview
//
// The owner of a [Fleet] has a member for each instance, of a type that embeds [Life].
// [Fleet.Update] applies a new list of instances: one that has appeared gets a member, and a
// goroutine that calls [Config].Attend for one stream after another. When a stream has ended,
// Config.Judge says whether and when the next one follows.
//
// An instance that vanishes from the list keeps its member until its stream has ended, because its
// last messages may still come. If the list shows it again before that, the member stays. Otherwise
// the member is removed, and the instance gets a new one when the list shows it again. There is
// never more than one member for an instance.
//
// A fleet lives until its context ends. Its members then stay, but are attended no more.
//
// # Concurrency
//
// A fleet has no lock of its own: the lock of its owner guards the members together with what the
// owner keeps about them, so that both change at once. Update, Check and Wait take the lock. The
// other methods, and Vanish, Return and Part of Config, are called with the lock held.
package fleet

import (
	"context"
	"iter"
	"maps"
	"sync"

	"github.com/linkmesh/link/discovery"
)

// Config is what the owner of a fleet does with its members. Lock, Attend, Judge and End are
// required.
type Config[M Member] struct {
	// Lock guards the members.
	Lock sync.Locker

	// Attend opens a stream to the instance of m, and returns when the stream has ended or could not
	// be opened. It returns soon after ctx has ended. It runs in the goroutine of m.
	Attend func(ctx context.Context, m M) error
	// Judge says how to go on with m after Attend has returned err. failures is the number of
	// attempts in a row, including this one, none of which lasted for long. Judge is not called if
	// m is removed, or if the fleet has ended.
	Judge func(m M, err error, failures int) Verdict

	// Vanish is called when a list no longer has the instance of m. It reports whether m is to be
	// removed when its stream has ended. Nil means that it is.
	Vanish func(m M) (leaves bool)
	// Return is called when a list has the instance of m again before m was removed; nil if there is
	// nothing to do.
	Return func(m M)
	// Part is called when m is removed because its instance has vanished; nil if there is nothing to do.
	Part func(m M)

	// End is the last call for m. It runs in the goroutine of m, without the lock.
	End func(m M, end End)
}

// Fleet keeps a stream to each instance.
type Fleet[M Member] struct {
	ctx     context.Context //nolint:containedctx // the owner's; its end ends the fleet
	config  Config[M]
	running sync.WaitGroup

	// The lock of the owner guards the fields below.
	members map[string]M
	closed  bool
}

// New returns a fleet without members, which lives until ctx ends. Its owner must call
// [Fleet.Wait] after that.
func New[M Member](ctx context.Context, config Config[M]) *Fleet[M] {
	return &Fleet[M]{ctx: ctx, config: config, members: make(map[string]M)}
}

// Update applies a new list of the instances of a service. Instances that have appeared get the
// member that meet returns, which is called with the lock held. Update returns those members.
func (f *Fleet[M]) Update(service string, list []discovery.Instance, meet func(in discovery.Instance) M) (joined []M) {
	listed := make(map[string]bool, len(list))
	f.config.Lock.Lock()
	defer f.config.Lock.Unlock()
	for _, in := range list {
		listed[in.ID] = true
		if m, ok := f.members[in.ID]; ok {
			f.reappear(m)
			continue
		}
		m := meet(in)
		f.Join(m)
		joined = append(joined, m)
	}
	for id, m := range f.members {
		if m.life().Service == service && !listed[id] {
			f.vanish(m)
		}
	}
	return joined
}

// Join adds a member, unless its instance has one. It is for an instance that no list has to show.
func (f *Fleet[M]) Join(m M) {
	id := m.life().ID
	if _, ok := f.members[id]; ok {
		return
	}
	f.members[id] = m
	if !f.closed {
		f.running.Go(func() { f.config.End(m, f.attend(m)) })
	}
}

func (f *Fleet[M]) vanish(m M) {
	l := m.life()
	if l.vanished.Load() || f.config.Vanish != nil && !f.config.Vanish(m) {
		return
	}
	l.vanished.Store(true)
}

func (f *Fleet[M]) reappear(m M) {
	if m.life().vanished.Swap(false) && f.config.Return != nil {
		f.config.Return(m)
	}
}

// Get returns the member of an instance.
func (f *Fleet[M]) Get(id string) (m M, ok bool) {
	m, ok = f.members[id]
	return m, ok
}

// All yields the members. The lock is held until the loop has ended.
func (f *Fleet[M]) All() iter.Seq[M] { return maps.Values(f.members) }

// Wait waits until the context of the fleet has ended, and then until no member is attended.
func (f *Fleet[M]) Wait() {
	<-f.ctx.Done()
	f.config.Lock.Lock()
	f.closed = true
	f.config.Lock.Unlock()
	f.running.Wait()
}
