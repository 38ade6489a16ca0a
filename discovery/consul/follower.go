package consul

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/linkmesh/link/discovery"
)

// following combines the state of one subject from all datacenters. Each source provides a part.
type following struct {
	r       *Registry
	stop    context.CancelFunc
	watches int // guarded by Registry.mu

	mu      sync.Mutex // guards the fields below
	stopped bool

	// parts has one element for each source. tell publishes them.
	parts []part
	tell  func()
}

// part is the state that one source knows.
type part struct {
	// shown means that the source has reported a state.
	shown   bool
	members []member
	at      time.Time

	// reason says why the state is stale. It is "" if the state is not stale.
	reason string
}

// show stores the state of source n and publishes.
func (f *following) show(n int, p part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.shown = true
	f.parts[n] = p
	f.publishLocked()
}

// publish publishes the current state again, for a watch that was opened after the last change.
// Other watches get nothing unless the state is new to them.
func (f *following) publish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.publishLocked()
}

// publishLocked publishes nothing until the agent's own datacenter has reported. Other datacenters
// are added when they report.
func (f *following) publishLocked() {
	if !f.stopped && f.parts[0].shown {
		f.tell()
	}
}

// end stops the sources. Answers in flight cannot reach a later watch of the same subject.
func (f *following) end() {
	f.stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}

// follower follows one service and publishes to the feed.
type follower struct {
	following
	q discovery.Query

	// over counts the instances beyond the limit of a snapshot. It is guarded by following.mu.
	over int
}

func newFollower(r *Registry, q discovery.Query) *follower {
	f := &follower{following: following{r: r, parts: make([]part, len(r.datacenters))}, q: q}
	f.tell = f.tellLocked
	return f
}

func (f *follower) tellLocked() {
	var reasons []string
	at := f.parts[0].at
	members := make([][]member, len(f.parts))
	for i, p := range f.parts {
		members[i] = p.members
		if p.reason != "" {
			reasons = append(reasons, p.reason)
			if !p.at.IsZero() && p.at.Before(at) {
				at = p.at
			}
		}
	}
	instances, over := merge(members)
	if over != f.over {
		f.over = over
		if over > 0 {
			f.r.lines.Warn("consul registry: more instances than a snapshot holds; instances of the last datacenters are left out",
				"service", f.q, "entries", over)
		}
	}
	if len(reasons) == 0 {
		f.r.feed.Publish(f.q, instances)
		return
	}
	f.r.feed.PublishStale(f.q, instances, at, strings.Join(reasons, "; "))
}

func (f *follower) ask(ctx context.Context, ask question, known []member) (answer, error) {
	return f.r.client.ask(ctx, f.q, ask, known)
}

func (f *follower) slowest(known int) time.Duration {
	if known == 0 {
		return emptyPace
	}
	return paceSlow
}

func (f *follower) load(dc string, now time.Time) ([]member, time.Time) {
	return f.r.saver.load(f.stateKey(dc), f.q, now)
}

func (f *follower) save(dc string, members []member, now time.Time) {
	f.r.saver.put(f.stateKey(dc), members, now)
}

func (f *follower) attr() (key string, value any) { return "service", f.q }

func (f *follower) stateKey(dc string) stateKey {
	r := f.r
	return stateKey{
		Agent: r.client.address, Namespace: r.namespace, Partition: r.partition,
		Datacenter: dc, Query: f.q.String(),
	}
}
