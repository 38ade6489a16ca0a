package transport

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/linkmesh/link/internal/share"
)

// callers are the peers that an endpoint serves, as they count in [pools]: by name or, where
// names are free, by name and host.
type callers struct {
	refusals int // Limits.RefusalRate

	mu    sync.Mutex // guards the fields below
	by    map[share.Key]*caller
	paces map[share.Key]*pace // by name or, where names are free, by host
}

// caller is what is known of one, over all its connections.
type caller struct {
	key  share.Key
	pace *pace
	refs int // guarded by callers.mu

	unsent unsent
}

// pace is how fast one is refused things, and how fast it may try again what found no
// room. All names of a host have one pace where names are free.
type pace struct {
	key      share.Key
	refusals *rate.Limiter
	trials   *rate.Limiter
	refs     int // guarded by callers.mu
}

// allows counts a refusal of this cost if it is free.
func (p *pace) allows(cost int) bool {
	return p.refusals.AllowN(time.Now(), min(cost, p.refusals.Burst()))
}

// wait waits until a refusal of this cost is free, and counts it. It fails when ctx ends.
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

// sweep forgets the pace of those who are gone and have been for so long that a new one
// would allow no more: to hang up and dial again gains nothing.
func (c *callers) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, p := range c.paces {
		if p.refs == 0 && p.refusals.TokensAt(now) >= float64(c.refusals) {
			delete(c.paces, key)
		}
	}
}
