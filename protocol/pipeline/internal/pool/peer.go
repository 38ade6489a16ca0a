package pool

import (
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// bounds limits what all producers together have here. Each identity may have as much as it
// leaves free. Where names are not proven, the identities at one address share half of it.
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
	// others is the ratio of what all identities together may have to what one may have.
	others = 4
	// leastSources is how many queues an identity may have regardless of its share.
	leastSources = 16
)

// limit returns how many bytes of tasks one identity may have here: HeldBytes for tasks that
// wait, and one task of the maximum size for each slot.
func (p *Pool) limit() int64 { return p.opts.HeldBytes + int64(p.Capacity())*MaxTask }

// peer is what all queues of one identity have here.
type peer struct {
	key     share.Key
	sources *share.Holder
	// pages counts the pages of caches.
	pages *share.Holder
	// bytes counts the bytes of tasks and of parts of tasks.
	bytes *share.Holder
	// results counts the bytes of kept outcomes.
	results *share.Holder
	// unread counts the bytes of outcomes that its producers have not read.
	unread int64

	group *group
}

// group holds the peers that take turns as one: an identity or, where names are not proven, all
// identities at an address.
type group struct {
	peers int
	// turn is the ring of the group's sources with queued tasks.
	turn *node[*Source]
	// line is the place in the pool's ring, while the group has such sources.
	line node[*group]
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

// peerOf returns the peer with a key and counts one more source for it. The error is ErrTooMany.
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

// forget removes a peer if it has no sources.
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

// place returns the name by which windows are divided first: the address of the peer where names are
// not proven, and otherwise the identity.
func (of *peer) place() string {
	if of.key.Place != "" {
		return of.key.Place
	}
	return of.key.Name
}

// Room returns where parts of tasks are counted: together with the tasks of the source's identity.
func (s *Source) Room() *share.Holder { return s.of.bytes }

// keep puts an outcome in the cache of a source, in the place of the one that is CacheCount
// tasks older. If the identity has its share of results, older results of the source make
// room for a new one.
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

// clear empties the cache of a source and gives back its room.
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
