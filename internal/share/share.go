// Package share divides what a node has once among all who use it: calls that
// run, open streams, bytes of messages, connections.
//
// # Overview
//
// A [Pool] is one such bound. Each [Holder] of it may have as much as it leaves
// free for everybody else, so one that takes all it can get has half, a second
// one a quarter, and whoever comes next finds as much free as the last one took.
// Nothing is reserved, so a pool with few users is not wasted, and nothing is
// taken back, so what was admitted is never disturbed. The rule is the dynamic
// threshold of Choudhury and Hahne ("Dynamic queue length thresholds for
// shared-memory packet switches", IEEE/ACM Transactions on Networking 6(2), 1998)
// with a factor of 1, which switches use to share buffers among ports.
//
// Where names cost nothing to make up, a share for each would not be a bound: there
// a [Key] has a Place too. A place is a holder like any other, and those in it
// share half of the pool by the same rule.
//
// # Guarantees
//
//   - The holders of a pool never have more than its limit together.
//   - Against n holders that give nothing back, others find 1/2^n of the limit free.
//   - A holder that has no more than the floor gets what is free.
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

// Why Take admits no more.
var (
	// ErrSpent means that the pool has not as much left for anybody.
	ErrSpent = errors.New("all of it is in use")
	// ErrShare means that the holder, or its place, would have more than it leaves free.
	ErrShare = errors.New("the caller has its share of it")
	// ErrMost means that the holder would have more than one may.
	ErrMost = errors.New("the caller has as much as a single one may have")
)

// Config is what a [Pool] is made of.
type Config struct {
	Limit int64 // what all holders may have together
	// Floor is what each holder may have, as long as it is free, whatever its share.
	Floor int64
	// Most is what one holder may have; 0 is as much as its share.
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

// NewPool returns a pool with nothing in use.
func NewPool(conf Config) *Pool {
	if conf.Most == 0 {
		conf.Most = math.MaxInt64
	}
	return &Pool{conf: conf, holders: make(map[Key]*Holder), places: make(map[string]*place)}
}

// Limit returns how much all holders may have together.
func (p *Pool) Limit() int64 { return p.conf.Limit }

// Used returns how much is in use.
func (p *Pool) Used() int64 { return p.used.Load() }

// place is what holders at one place have together.
type place struct {
	held atomic.Int64
	refs int // guarded by Pool.mu
}

// Holder is one who shares in a pool.
type Holder struct {
	pool  *Pool
	key   Key
	place *place // nil if the name is proven
	held  atomic.Int64
	refs  int // guarded by Pool.mu
}

// Holder returns the holder with this key; equal keys give the same one until all
// have called [Holder.Release].
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

// Release says that the caller of [Pool.Holder] needs it no longer. What it took
// through the holder must have been given back.
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

// Take admits n more to what the holder has. The error is [ErrSpent], [ErrShare]
// or [ErrMost]; nothing is taken then.
func (h *Holder) Take(n int64) error {
	p := h.pool
	held, here := h.held.Add(n), int64(0)
	if h.place != nil {
		here = h.place.held.Add(n)
	}
	// A holder that is refused leaves the pool alone, so that it cannot make others be refused.
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

// judge says whether the holder may have held, if its place has here then, and all
// holders used.
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

// Lacks reports whether the holder could not have n more now, and whether that is so
// because of what it has, it or its place.
func (h *Holder) Lacks(n int64) bool {
	held, here := h.held.Load(), int64(0)
	if h.place != nil {
		here = h.place.held.Load()
	}
	return held+here > 0 && h.judge(held+n, here+n, h.pool.used.Load()+n) != nil
}

// Add takes n without asking: for what can no longer be refused. It may exceed
// the limit.
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

// Key returns who the holder is.
func (h *Holder) Key() Key { return h.key }

// Held returns what the holder has.
func (h *Holder) Held() int64 { return h.held.Load() }

// SamePlace reports whether both have advisory names and are at one place.
func (h *Holder) SamePlace(other *Holder) bool { return h.place != nil && h.place == other.place }

// Scarce reports whether the holder could not have twice as much as it has: it is
// time to give back what is not needed.
func (h *Holder) Scarce() bool {
	held, here := h.held.Load(), int64(0)
	if h.place != nil {
		here = h.place.held.Load()
	}
	return h.judge(2*held, here+held, h.pool.used.Load()+held) != nil
}
