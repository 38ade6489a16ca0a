package consul

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/linkmesh/link/discovery"
)

// follower follows one service in all datacenters and tells the feed.
type follower struct {
	r       *Registry
	q       discovery.Query
	stop    context.CancelFunc
	watches int // guarded by Registry.mu

	mu      sync.Mutex // guards the fields below
	stopped bool
	parts   []part // one for each source
	over    int    // instances left out because there are too many in all
}

// part is what one source has to show.
type part struct {
	shown   bool // it has spoken
	members []member
	at      time.Time
	reason  string // why it is stale, "" if it is not
}

func newFollower(r *Registry, q discovery.Query) *follower {
	return &follower{r: r, q: q, parts: make([]part, len(r.datacenters))}
}

// show takes what source n has to show and publishes.
func (f *follower) show(n int, p part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.shown = true
	f.parts[n] = p
	f.publishLocked()
}

// publish tells the feed once more, which passes on only what is new to it. It is for a watch that
// has come when everything was said.
func (f *follower) publish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.publishLocked()
}

// publishLocked waits for the agent's own datacenter; the others join when they speak.
func (f *follower) publishLocked() {
	if f.stopped || !f.parts[0].shown {
		return
	}
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
			f.r.lines.warn("consul registry: more instances than a snapshot holds; the last datacenters are cut",
				"service", f.q, "entries", over)
		}
	}
	if len(reasons) == 0 {
		f.r.feed.Publish(f.q, instances)
		return
	}
	f.r.feed.PublishStale(f.q, instances, at, strings.Join(reasons, "; "))
}

// end keeps what is still under way from reaching a later watch of the same service.
func (f *follower) end() {
	f.stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}
