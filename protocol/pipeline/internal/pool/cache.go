package pool

import (
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// cache keeps the outcomes of the last tasks of a source: in a ring by number, made
// in pages as they are needed.
type cache struct {
	pages [CacheCount / cachePage]*[cachePage]entry
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

// get returns the outcome of a task, nil if it is not known.
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

// keep puts an outcome in, in the place of one that is CacheCount tasks older.
// What goes beyond the budget is not kept.
func (p *Pool) keep(s *Source, o *frame.Outcome, now int64) {
	at := o.Seq / cachePage % uint64(len(s.cache.pages))
	page := s.cache.pages[at]
	if page == nil {
		if s.of.pages >= MaxPages {
			return
		}
		s.of.pages++
		page = new([cachePage]entry)
		s.cache.pages[at] = page
	}
	e := &page[o.Seq%cachePage]
	p.kept -= int64(len(e.data))
	if p.kept+int64(len(o.Data)) > p.opts.CacheBytes {
		*e = entry{}
		return
	}
	p.kept += int64(len(o.Data))
	e.seq, e.delivery, e.at, e.ran, e.delay, e.data, e.verb = o.Seq, o.Delivery, now, int64(o.Ran), int64(o.Delay), o.Data, o.Verb
}

// clear gives back what the cache of a source takes.
func (p *Pool) clear(s *Source) {
	for _, page := range s.cache.pages {
		if page != nil {
			s.of.pages--
			for i := range page {
				p.kept -= int64(len(page[i].data))
			}
		}
	}
	s.cache = cache{}
}
