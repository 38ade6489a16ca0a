// Package reach says where the calls of a service may go. It reads the words of targets and failover lists, and finds
// circles and chains of services that are too long. It knows no documents, so that package topology can check them
// with it before package policy compiles them.
package reach

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/linkmesh/link/internal/policy/errtext"
)

// Words and prefixes of targets and failover lists, and the prefix of metadata keys.
const (
	Any           = "any"
	Zone          = "zone"
	Region        = "region"
	Datacenter    = "dc"
	ServicePrefix = "service:"
	SubsetPrefix  = "subset:"
	MetaPrefix    = "meta:"
)

// IsScope reports whether a word of a failover list stands for a place of the caller.
func IsScope(word string) bool { return word == Zone || word == Region || word == Datacenter }

// Service has what a document says about where the calls of a service go.
type Service struct {
	Routes []Route

	// Failover is the list for calls that no route matches, and for routes without a list.
	Failover []string

	// Mirror has the targets of copies of calls.
	Mirror map[string]int
}

// Route has the targets of a route, and its failover list, which is nil if it has none of its own.
type Route struct {
	To       map[string]int
	Failover []string
}

// Edge is a target or failover at a path of the document that leads to another service.
type Edge struct{ To, Path string }

// paths calls yield for each "to" of a service and the failover list that applies to it: that of the
// service, if the route has none. The last is for the calls that no route matches.
func (s Service) paths(service string, yield func(to map[string]int, toPath string, failover []string, failoverPath string)) {
	base := errtext.Path("services", service)
	for i, r := range s.Routes {
		at := fmt.Sprintf("%s.routes[%d]", base, i)
		if r.Failover != nil {
			yield(r.To, at+".to", r.Failover, at+".failover")
		} else {
			yield(r.To, at+".to", s.Failover, base+".failover")
		}
	}
	yield(nil, "", s.Failover, base+".failover")
}

// Edges returns the services that targets and failovers lead to, each once. It leaves out mirrors.
func (s Service) Edges(service string) []Edge {
	var list []Edge
	add := func(word, path string) {
		to, ok := strings.CutPrefix(word, ServicePrefix)
		if ok && !slices.ContainsFunc(list, func(e Edge) bool { return e.To == to }) {
			list = append(list, Edge{to, path})
		}
	}
	s.paths(service, func(to map[string]int, toPath string, failover []string, failoverPath string) {
		for _, target := range slices.Sorted(maps.Keys(to)) {
			add(target, toPath)
		}
		for i, word := range failover {
			add(word, fmt.Sprintf("%s[%d]", failoverPath, i))
		}
	})
	return list
}

// Mirrors returns the services that the mirror of a service copies calls to.
func (s Service) Mirrors(service string) []Edge {
	var list []Edge
	for _, target := range slices.Sorted(maps.Keys(s.Mirror)) {
		if to, ok := strings.CutPrefix(target, ServicePrefix); ok {
			list = append(list, Edge{to, errtext.Path("services", service) + ".mirror.to"})
		}
	}
	return list
}

// Step is a level of a plan, whose subset and scope are named. An empty subset means every instance.
type Step struct {
	Service string
	Subset  string

	// Scope is Any, Zone, Region or Datacenter.
	Scope string
}

// Steps returns the levels of a route's target and a failover list, each once.
func Steps(service, target string, failover []string) []Step {
	own := Step{Service: service, Scope: Any}
	switch other, ok := strings.CutPrefix(target, ServicePrefix); {
	case ok:
		own.Service = other
	case target != Any:
		own.Subset = target
	}
	var list []Step
	add := func(s Step) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if own.Service != service || len(failover) == 0 || !IsScope(failover[0]) {
		add(own)
	}
	for _, word := range failover {
		other, isService := strings.CutPrefix(word, ServicePrefix)
		subset, isSubset := strings.CutPrefix(word, SubsetPrefix)
		switch {
		case isService:
			add(Step{Service: other, Scope: Any})
		case isSubset:
			add(Step{Service: service, Subset: subset, Scope: Any})
		case own.Service == service:
			add(Step{Service: service, Subset: own.Subset, Scope: scopeOf(word)})
		}
	}
	return list
}

// scopeOf returns the scope that a word of a failover list stands for.
func scopeOf(word string) string {
	if IsScope(word) {
		return word
	}
	return Any
}
