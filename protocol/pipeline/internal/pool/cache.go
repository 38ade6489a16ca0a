package pool

import (
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// cache keeps the outcomes of the latest tasks of a source, in a ring by number. The
// pages of the ring are allocated when they are needed.
type cache struct {
	pages [CacheCount / cachePage]*[cachePage]entry
	// results lists the numbers of the outcomes with data, oldest first. Some may be gone.
	results []uint64
}

const cachePage = 256

type entry struct {
	seq, delivery uint64
	at            int64
	ran           int64
	delay         int64
	data          []byte
	verb          frame.Verb
}

func (e *entry) outcome(delivery uint64) frame.Outcome {
	return frame.Outcome{
		Verb: e.verb, Seq: e.seq, Delivery: delivery,
		Ran: time.Duration(e.ran), Delay: time.Duration(e.delay), Data: e.data,
	}
}

// get returns the outcome of a task, or nil if it is not known or older than window.
func (c *cache) get(seq uint64, now int64, window time.Duration) *entry {
	page := c.pages[seq/cachePage%uint64(len(c.pages))]
	if page == nil {
		return nil
	}
	e := &page[seq%cachePage]
	if e.seq != seq || now-e.at >= int64(window) {
		return nil
	}
	return e
}

// result returns the entry of a number in results, or nil if it is gone.
func (c *cache) result(seq uint64) *entry {
	page := c.pages[seq/cachePage%uint64(len(c.pages))]
	if e := &page[seq%cachePage]; e.seq == seq && len(e.data) > 0 {
		return e
	}
	return nil
}

// dropResult forgets an outcome and its result.
func (s *Source) dropResult(e *entry) {
	s.of.results.Give(int64(len(e.data)))
	*e = entry{}
}

// dropOldest forgets the oldest result. It reports whether there was one.
func (s *Source) dropOldest() bool {
	c := &s.cache
	for len(c.results) > 0 {
		e := c.result(c.results[0])
		if c.results = c.results[1:]; e != nil {
			s.dropResult(e)
			return true
		}
	}
	c.results = nil
	return false
}

// noteResult appends the number of a result to results.
func (c *cache) noteResult(seq uint64) {
	for len(c.results) >= CacheCount && c.result(c.results[0]) == nil {
		c.results = c.results[1:]
	}
	c.results = append(c.results, seq)
}

// dropAged forgets the results that are older than the window.
func (s *Source) dropAged(now int64, window time.Duration) {
	for c := &s.cache; len(c.results) > 0; {
		e := c.result(c.results[0])
		if e != nil && now-e.at < int64(window) {
			return
		}
		if c.results = c.results[1:]; e != nil {
			s.dropResult(e)
		}
	}
}
