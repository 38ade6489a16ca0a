package consul

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

// findPace limits the query rate of a tag watch: every registration in the datacenter wakes it, and
// makes the server scan all of them.
const findPace = pollEvery

// Find implements discovery.Finder. It does not block: the first list comes when Consul has answered
// or failed. A service that gets the tag is seen at once or, if something else was registered in the
// datacenter just before, about a second later. Under sustained registrations, and for watches
// beyond the first 24, it takes up to 5 s, plus or minus 20 percent.
//
// Consul selects the services with a filter that exists since 1.14. Answers of older versions are
// filtered here, where namespaces cannot be told apart. The list is not kept on disk.
func (r *Registry) Find(ctx context.Context, q discovery.TagQuery) (<-chan []string, error) {
	ch, f, err := r.find(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	f.publish()
	return ch, nil
}

func (r *Registry) find(ctx context.Context, q discovery.TagQuery) (<-chan []string, *finder, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := q.Validate(); err != nil {
		return nil, nil, err
	}
	q = q.Normalized()
	if r.shut {
		return nil, nil, fmt.Errorf("find %s: %w", q, discovery.ErrClosed)
	}
	ch, err := r.names.Find(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	f := r.finders[q]
	if f == nil {
		f = newFinder(r, q)
		r.finders[q] = f
		r.startLocked(f, &f.following) //nolint:contextcheck // the sources outlive this call
	}
	r.attachLocked(ctx, &f.following, func() {
		if r.finders[q] == f {
			delete(r.finders, q)
		}
	})
	return ch, f, nil
}

// finder follows the services that have one tag. Each service is a member whose ID is its name.
type finder struct {
	following
	q discovery.TagQuery
}

func newFinder(r *Registry, q discovery.TagQuery) *finder {
	f := &finder{following: following{r: r, parts: make([]part, len(r.datacenters))}, q: q}
	f.tell = f.tellLocked
	return f
}

func (f *finder) tellLocked() {
	var names []string
	for _, p := range f.parts {
		for _, m := range p.members {
			names = append(names, m.ID)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if left := f.r.names.Publish(f.q, names); left > 0 {
		f.r.lines.Warn("consul registry: too many services have one tag; the others are left out",
			"tag", f.q, "found", len(names), "limit", bounds.MaxServices)
	}
}

func (f *finder) ask(ctx context.Context, ask question, known []member) (answer, error) {
	return f.r.client.askTag(ctx, f.q, ask, known)
}

func (f *finder) slowest(int) time.Duration { return findPace }

func (f *finder) load(string, time.Time) ([]member, time.Time) { return nil, time.Time{} }

func (f *finder) save(string, []member, time.Time) {}

func (f *finder) attr() (key string, value any) { return "tag", f.q }

// askTag queries which services have an instance that q selects.
func (c *client) askTag(ctx context.Context, q discovery.TagQuery, ask question, known []member) (answer, error) {
	var raw map[string][]string
	p := errand{what: "find the services with tag " + q.String() + ask.where(), needs: readRule, limit: maxAnswer}
	x, pos, err := c.query(ctx, p, "/v1/catalog/services", tagFilter(q), ask, func() any {
		raw = nil
		return &raw
	})
	if err != nil {
		return answer{}, err
	}
	if raw == nil {
		return answer{}, &failure{kind: garbled, what: p.what, reason: c.stranger() + "its answer has no list"}
	}
	a := answer{position: pos, open: x.open(len(raw))}
	for name, tags := range raw {
		// Consul before 1.14 ignores the filter.
		if !slices.Contains(tags, q.Tag) {
			continue
		}
		if err := (discovery.Query{Service: name}).Validate(); err != nil {
			a.refuse(printable(name) + ": " + err.Error())
			continue
		}
		a.members = append(a.members, member{Instance: discovery.Instance{ID: name, Service: name}})
	}
	slices.SortFunc(a.members, compareMembers)
	a.cut(known)
	return a, nil
}

// tagFilter selects the services that link has registered with the tag in the namespace
// (api-docs/features/filtering).
func tagFilter(q discovery.TagQuery) string {
	// String literals of the filter are those of Go, except that they cannot contain a quote, even if
	// it is escaped.
	text := strconv.Quote(q.Tag)
	text = `"` + strings.ReplaceAll(text[1:len(text)-1], `\"`, `\x22`) + `"`
	return text + " in ServiceTags and " + namespaceFilter(q.Namespace)
}
