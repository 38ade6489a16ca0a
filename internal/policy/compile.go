package policy

import (
	"cmp"
	"maps"
	"slices"

	"github.com/linkmesh/link/internal/policy/errtext"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/policy/reach"
	"github.com/linkmesh/link/topology"
)

// Options is what this process allows documents to do. The zero value allows the least.
type Options struct {
	// AllowRedirect names the services that an untrusted layer may send calls to, by
	// target, failover or mirror.
	AllowRedirect []string

	// AllowFaults lets documents break calls on purpose. Package link sets it from its
	// Config.Routing.AllowFaults.
	AllowFaults bool
}

// Layer is one document and its origin.
type Layer struct {
	// Origin names the source in errors, unless the document knows its file:
	// "Consul KV link/topology/orders", "code".
	Origin string

	// Document may be nil; the layer is then ignored.
	Document *topology.Document

	// Trusted layers may send calls to any service and use every setting. Untrusted ones
	// send calls only to the services in Options.AllowRedirect, mirror only read-only
	// methods, and have their timeouts, retries and load-balancing settings forced into
	// bounds such as MostTimeout; see [Policy.Bounded].
	Trusted bool

	// Only, if set, is the only service that the document may have an entry for; the document
	// must not set defaults either. It keeps the author of one service's document from
	// changing another service.
	Only string
}

// entry is a service, with the problems and the trust of the document it came from.
type entry struct {
	service  topology.Service
	problems *problems
	trusted  bool
}

// Compile checks the layers, merges them and returns the resulting policy. Later layers override
// earlier ones: the entry of a service as a whole, the defaults field by field. The error reports the
// problems of all layers, as [topology.Document.Validate] does. For a valid layer it reports, with
// topology.ErrRefused, whatever opts does not allow.
//
// Documents are copied: they may be changed afterwards. Without layers, Compile returns an empty policy.
func Compile(opts Options, layers ...Layer) (*Policy, error) {
	merged, defaults := make(map[string]entry), topology.Defaults{}
	found := make([]*problems, 0, len(layers))
	notes := &problems{}
	for _, layer := range layers {
		doc := layer.Document
		if doc == nil {
			continue
		}
		p := &problems{origin: layer.Origin, document: doc}
		found = append(found, p)
		if p.validate(); len(p.list) == 0 {
			layer.permitted(opts, p)
		}
		note := &problems{origin: layer.Origin, document: doc}
		services, bounded := layer.bounded(note)
		notes.take(note)
		for name, service := range services {
			merged[name] = entry{service, p, layer.Trusted}
		}
		defaults = orDefaults(bounded, defaults)
	}
	all := &problems{}
	if n := len(merged); n > limits.MaxServices {
		all.add(topology.ErrLimit, "services", "has %d services in all layers, want at most %d", n, limits.MaxServices)
	}
	if !slices.ContainsFunc(found, func(p *problems) bool { return len(p.list) > 0 }) {
		check(merged)
	}
	for _, p := range found {
		all.take(p)
	}
	if err := all.err(); err != nil {
		return nil, err
	}
	policy := build(merged, defaults)
	policy.bounded = notes.errors()
	return policy, nil
}

// check reports circles, and chains that are too long, to the problems of the documents they are in. A document has
// none by itself.
func check(merged map[string]entry) {
	services := make(map[string]reach.Service, len(merged))
	for name, e := range merged {
		services[name] = ways(e.service)
	}
	for _, found := range reach.Check(services) {
		kind := topology.ErrInvalid
		if found.TooLong {
			kind = topology.ErrLimit
		}
		merged[found.Service].problems.add(kind, found.Path, "%s", found.Reason)
	}
}

// ways returns where the calls of a service may go.
func ways(s topology.Service) reach.Service {
	ways := reach.Service{Failover: s.Failover}
	for _, r := range s.Routes {
		ways.Routes = append(ways.Routes, reach.Route{To: r.To, Failover: r.Failover})
	}
	if s.Mirror != nil {
		ways.Mirror = s.Mirror.To
	}
	return ways
}

// edges returns the services that the calls of a service, and copies of them, may be sent to.
func edges(name string, s topology.Service) []reach.Edge {
	w := ways(s)
	return append(w.Edges(name), w.Mirrors(name)...)
}

// orDefaults returns d with its unset fields taken from o.
func orDefaults(d, o topology.Defaults) topology.Defaults {
	return topology.Defaults{
		Timeout:   cmp.Or(d.Timeout, o.Timeout),
		Retry:     orRetry(d.Retry, o.Retry),
		ZoneAware: cmp.Or(d.ZoneAware, o.ZoneAware),
	}
}

// permitted adds a problem for each setting that the layer is not allowed to have.
func (l Layer) permitted(opts Options, p *problems) {
	d := l.Document.Defaults
	if r := d.Retry; l.Only != "" && (d.Timeout != 0 || d.ZoneAware != 0 || r.Attempts != 0 || r.Budget != 0 || r.On != nil) {
		p.add(topology.ErrRefused, "defaults", "this document is about %s only; defaults hold for every service", l.Only)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Document.Services)) {
		s, at := l.Document.Services[name], errtext.Path("services", name)
		if l.Only != "" && name != l.Only {
			p.add(topology.ErrRefused, at, "this document is about %s only", l.Only)
			continue
		}
		if s.Fault != nil && !opts.AllowFaults {
			p.add(topology.ErrRefused, errtext.Path(at, "fault"), "this process does not let calls be broken on purpose; set link.Config.Routing.AllowFaults to allow it")
		}
		if l.Trusted {
			continue
		}
		for _, e := range edges(name, s) {
			if e.To != name && !slices.Contains(opts.AllowRedirect, e.To) {
				p.add(topology.ErrRefused, e.Path, "sends calls of %s to service %s, and others can write this document; add %q to AllowRedirect in this process to allow it", name, e.To, e.To)
			}
		}
	}
}
