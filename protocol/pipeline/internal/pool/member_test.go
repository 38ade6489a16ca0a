package pool

import (
	"fmt"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/share/sharetest"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// crowd is a pool with the queues of its producers and what these take there.
type crowd struct {
	*Pool
	queues  map[queueOf]*Source
	parts   map[*Source]int64
	refused bool
}

type queueOf struct {
	who  share.Key
	name string
}

// at calls take for a queue of a member. It reports whether there was room for the queue and for what
// take takes.
func (c *crowd) at(m sharetest.Member, queue string, take func(s *Source) bool) bool {
	of := queueOf{m.Key(), queue}
	s := c.queues[of]
	if s == nil {
		var err error
		if s, _, err = c.Join(Hello{From: of.who, Queue: of.name}, 1); err != nil {
			return false
		}
		c.queues[of] = s
	}
	return take(s)
}

// bound returns a bound of which each call of take uses up a bit, at one of the member's queues. Each
// other member must have room for some such calls.
func (c *crowd) bound(t *testing.T, pool *share.Pool, tries, queues, some int, take func(s *Source, i int) bool) sharetest.Bound {
	n := 0
	return sharetest.Bound{
		Used: pool.Used, Limit: pool.Limit, Tries: tries,
		Take: func(m sharetest.Member) {
			if !c.at(m, fmt.Sprint(n%queues), func(s *Source) bool { return take(s, n/queues) }) {
				c.refused = true
			}
			n++
		},
		Told: func() bool { return c.refused },
		Use: func(others []sharetest.Member) error {
			for _, m := range others {
				for i := range some {
					if !c.at(m, fmt.Sprint(i%queues), func(s *Source) bool { return take(s, i/queues) }) {
						return fmt.Errorf("%s has room for %d of %d", m.Name, i, some)
					}
				}
			}
			return nil
		},
		Leave: func() {
			for _, s := range c.queues {
				s.Room().Give(c.parts[s])
				c.Leave(s, s.ready, 2, 2)
			}
			c.sweep(2 + int64(DefaultCacheTime))
			if n := len(c.sources) + len(c.peers); n != 0 {
				t.Errorf("%d queues and identities stay", n)
			}
		},
	}
}

// TestOneMemberLeavesOthersTheirShare checks that one member cannot use up what a worker keeps for all
// of its producers.
func TestOneMemberLeavesOthersTheirShare(t *testing.T) { // SEC-371
	keep := func(c *crowd, s *Source, seq uint64, size int) bool {
		c.keep(s, &frame.Outcome{Verb: frame.Result, Seq: seq, Data: make([]byte, size)}, 1)
		return s.cache.get(seq, 1, time.Minute) != nil
	}
	for name, bound := range map[string]func(t *testing.T, c *crowd) sharetest.Bound{
		"queues": func(t *testing.T, c *crowd) sharetest.Bound {
			return c.bound(t, c.bounds.sources, 2*others*MaxSources, 2*others*MaxSources, leastSources, func(*Source, int) bool { return true })
		},
		"tasks": func(t *testing.T, c *crowd) sharetest.Bound {
			return c.bound(t, c.bounds.bytes, 1024, 8, 1, func(s *Source, _ int) bool {
				if s.Room().Take(MaxTask) != nil {
					return false
				}
				c.parts[s] += MaxTask
				return true
			})
		},
		"outcomes": func(t *testing.T, c *crowd) sharetest.Bound {
			const pages = CacheCount / cachePage
			return c.bound(t, c.bounds.pages, 2*others*MaxPages, 2*others*MaxPages/pages, leastSources, func(s *Source, i int) bool {
				return keep(c, s, uint64(i)*cachePage+1, 0)
			})
		},
		"results": func(t *testing.T, c *crowd) sharetest.Bound {
			b := c.bound(t, c.bounds.results, 1000, 4, 1, func(s *Source, i int) bool { return keep(c, s, uint64(i)+1, 64<<10) })
			// Later results take the place of the first ones, so none is refused.
			b.Told = nil
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			sharetest.Each(t, func(t *testing.T, free bool) {
				c := &crowd{Pool: New(Options{}), queues: make(map[queueOf]*Source), parts: make(map[*Source]int64)}
				sharetest.Drive(t, bound(t, c), free)
			})
		})
	}
}
