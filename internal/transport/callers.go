package transport

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/linkmesh/link/internal/share"
)

// callers holds the peers that an endpoint serves, keyed as in [pools]: by name or, where
// peers choose their names, by name and host.
type callers struct {
	// refusals is Limits.Streams.RefusalRate.
	refusals int

	mu sync.Mutex // guards the fields below
	by map[share.Key]*caller
	// paces is keyed by name or, where peers choose their names, by host.
	paces map[share.Key]*pace
}

// caller is the state of one peer, over all its connections.
type caller struct {
	key  share.Key
	pace *pace
	refs int // guarded by callers.mu

	unsent unsent
}

// pace limits how fast a peer is refused things, and how fast it may retry what found no
// room. Where peers choose their names, all names of a host share one pace.
type pace struct {
	key      share.Key
	refusals *rate.Limiter
	trials   *rate.Limiter
	refs     int // guarded by callers.mu
}

// allows reports whether a refusal of this cost is within the rate, and counts it if so.
func (p *pace) allows(cost int) bool {
	return p.refusals.AllowN(time.Now(), min(cost, p.refusals.Burst()))
}

// wait waits until a refusal of this cost is within the rate, and counts it. It fails when
// ctx ends.
func (p *pace) wait(ctx context.Context, cost int) error {
	return p.refusals.WaitN(ctx, min(cost, p.refusals.Burst()))
}

// join returns the caller with this key; leave must follow.
func (c *callers) join(key share.Key) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	who := c.by[key]
	if who == nil {
		if c.by == nil {
			c.by, c.paces = make(map[share.Key]*caller), make(map[share.Key]*pace)
		}
		who = &caller{key: key, pace: c.paceLocked(key)}
		who.pace.refs++
		c.by[key] = who
	}
	who.refs++
	return who
}

func (c *callers) paceLocked(key share.Key) *pace {
	if key.Place != "" {
		key.Name = ""
	}
	p := c.paces[key]
	if p == nil {
		p = &pace{key: key, refusals: rate.NewLimiter(rate.Limit(c.refusals), c.refusals), trials: rate.NewLimiter(trialRate, trialRate)}
		c.paces[key] = p
	}
	return p
}

func (c *callers) leave(who *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if who.refs--; who.refs == 0 {
		delete(c.by, who.key)
		who.pace.refs--
	}
}

// sweep forgets the paces of peers that have been gone for so long that a new pace would
// allow no more. A peer thus gains nothing if it hangs up and dials again.
func (c *callers) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, p := range c.paces {
		if p.refs == 0 && p.refusals.TokensAt(now) >= float64(c.refusals) {
			delete(c.paces, key)
		}
	}
}
