package topology

import (
	"cmp"
	"maps"
	"slices"
)

// Options is what this process allows documents to do. The zero value allows the least.
type Options struct {
	// AllowRedirect names the services that an untrusted layer may send calls to, by
	// target, failover or mirror.
	AllowRedirect []string

	// AllowFaults lets documents break calls on purpose. Package link sets it from its
	// Config.AllowFaults.
	AllowFaults bool
}

// Layer is one document and its origin.
type Layer struct {
	// Origin names the source in errors, unless the document knows its file:
	// "Consul KV link/topology/orders", "code".
	Origin string

	// Document may be nil; the layer is then ignored.
	Document *Document

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

// Compile checks the layers, merges them and returns the resulting policy. Later layers override
// earlier ones: the entry of a service as a whole, the defaults field by field. The error reports the
// problems of all layers, as [Document.Validate] does. For a valid layer it reports, with
// ErrRefused, whatever opts does not allow.
//
// Documents are copied: they may be changed afterwards. Without layers, Compile returns an empty policy.
func Compile(opts Options, layers ...Layer) (*Policy, error) {
	merged, defaults := graph{}, Defaults{}
	found := make([]*problems, 0, len(layers))
	notes := &problems{}
	for _, layer := range layers {
		doc := layer.Document
		if doc == nil {
			continue
		}
		p := &problems{origin: layer.Origin, source: doc.source}
		found = append(found, p)
		if doc.validateFields(p); len(p.list) == 0 {
			layer.permitted(opts, p)
		}
		note := &problems{origin: layer.Origin, source: doc.source}
		services, bounded := layer.bounded(note)
		notes.take(note)
		for name, service := range services {
			merged[name] = entry{service, p, layer.Trusted}
		}
		defaults = bounded.or(defaults)
	}
	all := &problems{}
	all.limit("services", "services in all layers", len(merged), MaxServices)
	if !slices.ContainsFunc(found, func(p *problems) bool { return len(p.list) > 0 }) {
		merged.check()
	}
	for _, p := range found {
		all.take(p)
	}
	if err := all.err(); err != nil {
		return nil, err
	}
	policy := build(merged, defaults)
	policy.bounded = notes.sorted()
	return policy, nil
}

// or returns d with its unset fields taken from o.
func (d Defaults) or(o Defaults) Defaults {
	return Defaults{
		Timeout:   cmp.Or(d.Timeout, o.Timeout),
		Retry:     d.Retry.or(o.Retry),
		ZoneAware: cmp.Or(d.ZoneAware, o.ZoneAware),
	}
}

// permitted adds a problem for each setting that the layer is not allowed to have.
func (l Layer) permitted(opts Options, p *problems) {
	if d := l.Document.Defaults; l.Only != "" && (d.Timeout != 0 || d.ZoneAware != 0 || d.Retry.set()) {
		p.add(ErrRefused, "defaults", "this document is about %s only; defaults hold for every service", l.Only)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Document.Services)) {
		s, at := l.Document.Services[name], join("services", name)
		if l.Only != "" && name != l.Only {
			p.add(ErrRefused, at, "this document is about %s only", l.Only)
			continue
		}
		if s.Fault != nil && !opts.AllowFaults {
			p.add(ErrRefused, join(at, "fault"), "this process does not let calls be broken on purpose; set link.Config.AllowFaults to allow it")
		}
		if l.Trusted {
			continue
		}
		for _, e := range append(s.edges(name), s.mirrors(name)...) {
			if e.to != name && !slices.Contains(opts.AllowRedirect, e.to) {
				p.add(ErrRefused, e.path, "sends calls of %s to service %s, and others can write this document; add %q to AllowRedirect in this process to allow it", name, e.to, e.to)
			}
		}
	}
}

func (r Retry) set() bool { return r.Attempts != 0 || r.Budget != 0 || r.On != nil }
