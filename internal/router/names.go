package router

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/spell"
)

// How errors learn which names exist. The names that a registry returns are cached, so that
// calls that fail by the thousand rarely query it.
const (
	// namesEvery is how long the names from a registry are kept.
	namesEvery = spell.CacheTime
	// NamesWait is how long an error waits for names: those of services in a registry, or
	// those of routes that a peer announces. Names that come later serve the next error.
	NamesWait = 100 * time.Millisecond
	// namesTime bounds the query itself.
	namesTime = 2 * time.Second
)

// These bound the searches for similar names in namesEvery; errors beyond them propose nothing. Both the names and
// the word that is searched for may come from others.
const (
	maxServiceSearches = 1024 // per node, among the services of its registry
	maxTagSearches     = 64   // per service, among the tags of its instances
)

// names are the services that the registry knows, for errors that propose the one that
// was probably meant.
type names struct {
	router *Router

	mu    sync.Mutex // guards the fields below
	asked time.Time
	// answered is closed when the query in flight has ended; nil if there is none.
	answered chan struct{}
	known    []string
	// heard means that known comes from the registry.
	heard bool

	proposed spell.Cache
}

// propose returns the end of an error about a service that nobody has announced: the
// names that are similar to its name, or "". It waits until the given time, at most for
// NamesWait.
func (k *names) propose(name string, until time.Time) string {
	lister, ok := k.router.cfg.Registry.(discovery.Lister)
	if !ok {
		return ""
	}
	k.mu.Lock()
	if k.answered == nil && (k.asked.IsZero() || time.Since(k.asked) > namesEvery) {
		answered := make(chan struct{})
		if k.router.cfg.Group.Go(func(ctx context.Context) { k.ask(ctx, lister, answered) }) {
			k.asked, k.answered = time.Now(), answered
		}
	}
	answered := k.answered
	k.mu.Unlock()
	if answered != nil {
		patience := time.NewTimer(min(time.Until(until), NamesWait))
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
	return k.proposed.Propose(name, maxServiceSearches, func() string { return proposeService(name, known) })
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
	known, err := lister.Services(ctx, k.router.cfg.Namespace)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answered = nil
	if err == nil {
		k.known, k.heard = known, true
		k.proposed.Forget()
	}
}
