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
