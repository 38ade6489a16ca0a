package pool

import (
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// bounds are what all producers have here together. Each identity may have as much as it
// leaves free, and where names are free those at one address have half of it together.
type bounds struct {
	sources, pages, bytes, results *share.Pool
}

func newBounds(p *Pool) bounds {
	return bounds{
		sources: share.NewPool(share.Config{Limit: others * MaxSources, Floor: leastSources, Most: MaxSources}),
		pages:   share.NewPool(share.Config{Limit: others * MaxPages, Floor: leastSources, Most: MaxPages}),
		bytes:   share.NewPool(share.Config{Limit: others * p.limit(), Floor: MaxTask, Most: p.limit()}),
		results: share.NewPool(share.Config{Limit: p.opts.CacheBytes}),
	}
}

const (
	// others is how many times what one identity may have all may have together.
	others = 4
	// leastSources is how many queues an identity may have whatever its share.
	leastSources = 16
)

// limit is how many bytes of tasks one identity may have here: those that wait, and one
// task for each slot, however large.
func (p *Pool) limit() int64 { return p.opts.HeldBytes + int64(p.Capacity())*MaxTask }

// peer is what all queues of one identity have here.
type peer struct {
	key     share.Key
	sources *share.Holder
	pages   *share.Holder // pages of caches
	bytes   *share.Holder // bytes of tasks, and of parts of tasks
	results *share.Holder // bytes of outcomes that are kept
	unread  int64         // bytes of outcomes that its producers have not read

	group *group
}

// group is whose turn it is at once: an identity or, where names are free, an address.
type group struct {
	peers int
	turn  *node[*Source] // ring of its sources with queued tasks
	line  node[*group]   // in the pool's ring, while there are any
}

func (p *Pool) groupOf(place string) *group {
	g := p.groups[place]
	if g == nil {
		g = &group{}
		g.line.value = g
		p.groups[place] = g
	}
	g.peers++
	return g
}

// peerOf returns the peer with a key, with one source more.
func (p *Pool) peerOf(key share.Key) (*peer, error) {
	of := p.peers[key]
	if of == nil {
		of = &peer{
			key: key, sources: p.bounds.sources.Holder(key), pages: p.bounds.pages.Holder(key),
			bytes: p.bounds.bytes.Holder(key), results: p.bounds.results.Holder(key),
		}
		of.group = p.groupOf(of.place())
		p.peers[key] = of
	}
	if of.sources.Take(1) != nil {
		p.forget(of)
		return nil, ErrTooMany
	}
	return of, nil
}

// forget gives up a peer without sources.
func (p *Pool) forget(of *peer) {
	if of.sources.Held() > 0 {
		return
	}
	delete(p.peers, of.key)
	if of.group.peers--; of.group.peers == 0 {
		delete(p.groups, of.place())
	}
	for _, h := range []*share.Holder{of.sources, of.pages, of.bytes, of.results} {
		h.Release()
	}
}

// place is whose windows are divided first: those at one address where names are free.
func (of *peer) place() string {
	if of.key.Place != "" {
		return of.key.Place
	}
	return of.key.Name
}

// Room is where parts of tasks are counted: with the tasks of the source's identity.
func (s *Source) Room() *share.Holder { return s.of.bytes }

// keep puts an outcome in the cache of a source, in the place of one that is CacheCount
// tasks older. A result takes the room of older ones of its source, up to the share of its
// identity.
func (p *Pool) keep(s *Source, o *frame.Outcome, now int64) {
	at := o.Seq / cachePage % uint64(len(s.cache.pages))
	page := s.cache.pages[at]
	if page == nil {
		if s.of.pages.Take(1) != nil {
			return
		}
		page = new([cachePage]entry)
		s.cache.pages[at] = page
	}
	e := &page[o.Seq%cachePage]
	s.dropResult(e)
	if n := int64(len(o.Data)); n > 0 {
		for s.of.results.Take(n) != nil {
			if !s.dropOldest() {
				return
			}
		}
		s.cache.noteResult(o.Seq)
	}
	e.seq, e.delivery, e.at, e.ran, e.delay, e.data, e.verb = o.Seq, o.Delivery, now, int64(o.Ran), int64(o.Delay), o.Data, o.Verb
}

// clear gives back what the cache of a source takes.
func (s *Source) clear() {
	for _, page := range s.cache.pages {
		if page == nil {
			continue
		}
		s.of.pages.Give(1)
		for i := range page {
			s.of.results.Give(int64(len(page[i].data)))
		}
	}
	s.cache = cache{}
}
