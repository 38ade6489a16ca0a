// Package share divides a limited resource of a node among all its users: running
// calls, open streams, bytes of messages, connections.
//
// # Overview
//
// A [Pool] is one such resource. Each [Holder] may have as much as it leaves free
// for all others: the first holder that takes all it can get has half, the second
// a quarter, and each next one finds as much free as the one before took.
// Nothing is reserved, so a pool with few holders is not wasted. Nothing is taken
// back, so admitted work is never interrupted. The rule is the dynamic
// threshold of Choudhury and Hahne ("Dynamic queue length thresholds for
// shared-memory packet switches", IEEE/ACM Transactions on Networking 6(2), 1998)
// with a factor of 1, which switches use to share buffers among ports.
//
// If holders choose their own names, a share for each name would not be a bound, so
// a [Key] then also has a Place. A place is limited like a holder, and the holders
// in it share half of the pool by the same rule.
//
// # Guarantees
//
//   - The holders of a pool never Take more than its limit together.
//   - While n holders keep all they can get, 1/2^n of the limit is free for others.
//   - A holder that has no more than the floor gets what is free, unless its place
//     has its share.
//   - Take and Give take no lock and allocate nothing.
//
// # Concurrency
//
// Everything is safe for concurrent use.
package share

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
)

// Errors of Take.
var (
	// ErrSpent means that the pool does not have that much left.
	ErrSpent = errors.New("all of it is in use")
	// ErrShare means that the holder, or its place, would have more than it leaves free.
	ErrShare = errors.New("the caller has its share of it")
	// ErrMost means that the holder would have more than Config.Most.
	ErrMost = errors.New("the caller has as much as a single one may have")
)

// Config configures a [Pool].
type Config struct {
	// Limit is the amount that all holders may have together.
	Limit int64
	// Floor is the amount that each holder may have regardless of its share, as long as it is free
	// and its place does not have its share.
	Floor int64
	// Most is the maximum of one holder. Zero means that only its share limits it.
	Most int64
}

// Pool is an amount that holders share.
type Pool struct {
	conf Config
	used atomic.Int64

	mu      sync.Mutex // guards the fields below
	holders map[Key]*Holder
	places  map[string]*place
}

// NewPool returns a pool of which nothing is in use.
func NewPool(conf Config) *Pool {
	if conf.Most == 0 {
		conf.Most = math.MaxInt64
	}
	return &Pool{conf: conf, holders: make(map[Key]*Holder), places: make(map[string]*place)}
}

// Limit returns the amount that all holders may have together.
func (p *Pool) Limit() int64 { return p.conf.Limit }

// Used returns the amount in use.
func (p *Pool) Used() int64 { return p.used.Load() }

// place counts the amount that all holders at one place have together.
type place struct {
	held atomic.Int64
	refs int // guarded by Pool.mu
}

// Holder is one user of a pool.
type Holder struct {
	pool *Pool
	key  Key

	// place is nil if the name is verified.
	place *place
	held  atomic.Int64
	refs  int // guarded by Pool.mu
}

// Holder returns the holder with a key. Equal keys return the same holder until
// [Holder.Release] has been called for each of them.
func (p *Pool) Holder(key Key) *Holder {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.holders[key]
	if h == nil {
		h = &Holder{pool: p, key: key}
		if key.Place != "" {
			h.place = p.placeLocked(key.Place)
		}
		p.holders[key] = h
	}
	h.refs++
	return h
}

func (p *Pool) placeLocked(name string) *place {
	at := p.places[name]
	if at == nil {
		at = &place{}
		p.places[name] = at
	}
	at.refs++
	return at
}

// Release undoes one call of [Pool.Holder]. The caller must have given back all that
// it took through the holder.
func (h *Holder) Release() {
	p := h.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.refs--; h.refs > 0 {
		return
	}
	delete(p.holders, h.key)
	if h.place == nil {
		return
	}
	if h.place.refs--; h.place.refs == 0 {
		delete(p.places, h.key.Place)
	}
}

// Take adds n to what the holder has. The error is [ErrSpent], [ErrShare] or
// [ErrMost]; nothing is taken then.
func (h *Holder) Take(n int64) error {
	p := h.pool
	held, here := h.held.Add(n), int64(0)
	if h.place != nil {
		here = h.place.held.Add(n)
	}
	// The first check does not change p.used, so that a holder that is refused cannot cause refusals of others.
	err := h.judge(held, here, p.used.Load()+n)
	if err == nil {
		if err = h.judge(held, here, p.used.Add(n)); err == nil {
			return nil
		}
		p.used.Add(-n)
	}
	h.held.Add(-n)
	if h.place != nil {
		h.place.held.Add(-n)
	}
	return err
}

// judge returns an error unless the holder may have held, with here at its place and
// used in the whole pool.
func (h *Holder) judge(held, here, used int64) error {
	c := &h.pool.conf
	free := c.Limit - used
	switch {
	case held > c.Most:
		return ErrMost
	case free < 0:
		return ErrSpent
	case h.place == nil:
	case here > max(free, c.Floor):
		return ErrShare
	default:
		free = c.Limit/2 - here
	}
	if held > max(free, c.Floor) {
		return ErrShare
	}
	return nil
}

// Lacks reports whether the holder could not take n more now, while it or its place
// has something to give back.
func (h *Holder) Lacks(n int64) bool {
	held, here := h.held.Load(), int64(0)
	if h.place != nil {
		here = h.place.held.Load()
	}
	return held+here > 0 && h.judge(held+n, here+n, h.pool.used.Load()+n) != nil
}

// Add takes n without a check, for amounts that can no longer be refused. It may
// exceed the limit.
func (h *Holder) Add(n int64) {
	h.held.Add(n)
	if h.place != nil {
		h.place.held.Add(n)
	}
	h.pool.used.Add(n)
}

// Give gives back n of what was taken.
func (h *Holder) Give(n int64) { h.Add(-n) }

// Name returns the name of the holder.
func (h *Holder) Name() string { return h.key.Name }

// Key returns the key of the holder.
func (h *Holder) Key() Key { return h.key }

// Held returns the amount that the holder has.
func (h *Holder) Held() int64 { return h.held.Load() }

// SamePlace reports whether both holders have advisory names and are at the same place.
func (h *Holder) SamePlace(other *Holder) bool { return h.place != nil && h.place == other.place }

// Scarce reports whether the holder could not take as much again as it has. It should
// then give back what it does not need.
func (h *Holder) Scarce() bool {
	held, here := h.held.Load(), int64(0)
	if h.place != nil {
		here = h.place.held.Load()
	}
	return h.judge(2*held, here+held, h.pool.used.Load()+held) != nil
}
