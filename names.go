package link

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/spell"
	"github.com/linkmesh/link/internal/transport"
)

// How errors learn which names exist. The names that a registry returns are cached, so that
// calls that fail by the thousand rarely query it.
const (
	// namesEvery is how long the names from a registry are kept.
	namesEvery = 5 * time.Second
	// namesWait is how long an error waits for the names; names that come later serve the
	// next error.
	namesWait = 100 * time.Millisecond
	// namesTime bounds the query itself.
	namesTime = 2 * time.Second
)

// These bound the searches for similar names in namesEvery; errors beyond them propose nothing. Both the names and
// the word that is searched for may come from others.
const (
	maxServiceSearches = 1024 // per node, among the services of its registry
	maxRouteSearches   = 64   // per connection, among the routes of its peer
	maxTagSearches     = 64   // per service, among the tags of its instances
)

// proposals remembers for namesEvery what was proposed in place of each word.
type proposals struct {
	mu    sync.Mutex // guards the fields below
	since time.Time
	texts map[string]string
}

// propose returns what was proposed in place of word, or searches for a proposal if fewer than most searches were made
// lately.
func (p *proposals) propose(word string, most int, search func() string) string {
	p.mu.Lock()
	if now := time.Now(); p.texts == nil || now.Sub(p.since) >= namesEvery {
		p.since, p.texts = now, make(map[string]string)
	}
	texts := p.texts
	text, known := texts[word]
	if known || len(texts) >= most {
		p.mu.Unlock()
		return text
	}
	// The search counts from now on, and only this caller makes it.
	texts[word] = ""
	p.mu.Unlock()
	text = search()
	p.mu.Lock()
	defer p.mu.Unlock()
	texts[word] = text
	return text
}

func (p *proposals) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.texts = nil
}

// names are the services that the registry knows, for errors that propose the one that
// was probably meant.
type names struct {
	node *Node

	mu    sync.Mutex // guards the fields below
	asked time.Time
	// answered is closed when the query in flight has ended; nil if there is none.
	answered chan struct{}
	known    []string
	// heard means that known comes from the registry.
	heard bool

	proposed proposals
}

// propose returns the end of an error about a service that nobody has announced: the
// names that are similar to its name, or "". It waits until the given time, at most for
// namesWait.
func (k *names) propose(name string, until time.Time) string {
	lister, ok := k.node.registry.(discovery.Lister)
	if !ok {
		return ""
	}
	k.mu.Lock()
	if k.answered == nil && (k.asked.IsZero() || time.Since(k.asked) > namesEvery) {
		answered := make(chan struct{})
		if k.node.group.Go(func(ctx context.Context) { k.ask(ctx, lister, answered) }) {
			k.asked, k.answered = time.Now(), answered
		}
	}
	answered := k.answered
	k.mu.Unlock()
	if answered != nil {
		patience := time.NewTimer(min(time.Until(until), namesWait))
		defer patience.Stop()
		select {
		case <-answered:
		case <-patience.C:
		}
	}
	k.mu.Lock()
	known, heard := k.known, k.heard
	k.mu.Unlock()
	if !heard {
		return ""
	}
	return k.proposed.propose(name, maxServiceSearches, func() string { return proposeService(name, known) })
}

// proposeService names the services similar to name or, if none is and there are only a few services, all of them.
func proposeService(name string, known []string) string {
	text := spell.Proposal(name, slices.Values(known))
	if text != "" || len(known) == 0 || len(known) > spell.MaxProposed || slices.Contains(known, name) {
		return text
	}
	quoted := make([]string, len(known))
	for i, other := range known {
		quoted[i] = strconv.Quote(other)
	}
	return "; all that is there is " + strings.Join(quoted, ", ")
}

// ask queries the registry for the names. An error leaves those that are known.
func (k *names) ask(ctx context.Context, lister discovery.Lister, answered chan struct{}) {
	defer close(answered)
	ctx, cancel := context.WithTimeout(ctx, namesTime)
	defer cancel()
	known, err := lister.Services(ctx, k.node.cfg.Namespace)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answered = nil
	if err == nil {
		k.known, k.heard = known, true
		k.proposed.forget()
	}
}

// proposeRoute returns the end of an error about a route that a peer does not serve: the similar
// names that it does serve, or "". The error may come before the peer's routes, which have a
// stream of their own, so it waits for them: at most for namesWait, and no longer than until stop
// is closed or, if it is not zero, until the given time. It waits in full only once per connection.
func proposeRoute(stop <-chan struct{}, r Route, session *transport.Session, until time.Time) string {
	session.AwaitRoutes(stop, namesWait, until)
	return verifiedOf(session).nearRoutes.propose(r.Kind.String()+" "+r.Name, maxRouteSearches, func() string {
		return spell.Proposal(r.Name, session.RouteNames(uint64(r.Kind)))
	})
}

// Unserved returns an error that says why nobody serves a route for calls with these
// options: no instance of its service is known; those that are known lack the route, with
// the nearest names that exist; or none of them could be connected to yet. It returns nil if
// the node is connected to an instance that serves the route. It is for patterns whose users
// wait, to tell them or to log it. It dials nothing. It may block 100 ms for the registry,
// or 200 ms for the routes of instances that were connected to just now.
//
// The error begins with "nobody serves stage receipts of service mailer". Its code is
// Unavailable, or Unimplemented if the route's name is wrong, or that of an error that makes
// a call fail before it is sent, as with [Node.Call].
func (n *Node) Unserved(r Route, opts ...CallOption) error {
	o := &outgoing{}
	o.init(r, nil, nil, opts)
	if err := o.unserved(n); err != nil {
		found := failed("", err)
		return &Error{
			Code:    found.Code,
			Message: "nobody serves " + r.Kind.String() + " " + r.Name + " of service " + r.Service + ": " + found.Message,
			Cause:   err,
		}
	}
	return nil
}

func (o *outgoing) unserved(n *Node) error {
	if err := o.Route.Validate(); err != nil {
		return err
	}
	if _, err := n.socket(); err != nil {
		return err
	}
	var err error
	if o.service, err = n.service(o.Route.Service); err != nil {
		return err
	}
	s := o.service
	select {
	case <-s.known:
	default:
		return Errorf(Unavailable, "%s has not said yet which instances exist", describeRegistry(n.registry))
	}
	o.now = time.Now()
	o.deadline, o.dated = o.now.Add(namesWait), true
	list, unknown := o.reachable()
	if len(list)+len(unknown) == 0 {
		o.plan = s.view.Load().plans.Route(&o.request)
		return o.none()
	}
	s.mu.Lock()
	var without []*transport.Session
	var last *trouble
	for _, in := range list {
		m := s.members[in.ID]
		if m == nil {
			continue
		}
		session := m.session()
		if session == nil {
			if t := m.state.trouble.Load(); t != nil {
				last = t
			}
			continue
		}
		without = append(without, session)
	}
	s.mu.Unlock()
	// This is longer than one wait, so that the session remembers a wait in full.
	until := time.Now().Add(2 * namesWait)
	for _, session := range without {
		session.AwaitRoutes(nil, namesWait, until)
		if _, ok := session.Route(uint64(o.Route.Kind), o.Route.Name); ok {
			return nil
		}
	}
	where := describeRegistry(n.registry)
	switch {
	case len(without) > 0:
		return Errorf(Unimplemented, "none of the %d instances in %s that are connected has it%s", len(without), where, proposeRoute(nil, o.Route, without[0], until))
	case last != nil:
		return Errorf(CodeOf(last.err), "none of the %d instances in %s is connected: %w", len(list)+len(unknown), where, last.err)
	}
	return Errorf(Unavailable, "none of the %d instances in %s is connected", len(list)+len(unknown), where)
}

// session returns a connection to the instance, nil if there is none that takes calls.
func (in *instance) session() *transport.Session {
	if s := in.peer.Live(transport.ClassBulk); s != nil {
		return s
	}
	return in.peer.Live(transport.ClassCalls)
}
