package topology

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// graph maps names to the services of a policy; targets and failovers lead from one to another.
type graph map[string]entry

// entry is a service, with the problems and the trust of the document it came from.
type entry struct {
	service  Service
	problems *problems
	trusted  bool
}

// edge is a target or failover at a path of the document that leads to another service.
type edge struct {
	to   string
	path string
}

// paths calls yield for each "to" of a service and the failover list that applies to it: that of the
// service, if the route has none. The last is for the calls that no route matches.
func (s Service) paths(service string, yield func(to Split, toPath string, failover []string, failoverPath string)) {
	base := join("services", service)
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

// edges returns the services that targets and failovers lead to, each once. It leaves out mirrors.
func (s Service) edges(service string) []edge {
	var list []edge
	add := func(word, path string) {
		to, ok := strings.CutPrefix(word, prefixService)
		if ok && !slices.ContainsFunc(list, func(e edge) bool { return e.to == to }) {
			list = append(list, edge{to, path})
		}
	}
	s.paths(service, func(to Split, toPath string, failover []string, failoverPath string) {
		for _, target := range slices.Sorted(maps.Keys(to)) {
			add(target, toPath)
		}
		for i, word := range failover {
			add(word, fmt.Sprintf("%s[%d]", failoverPath, i))
		}
	})
	return list
}

// mirrors returns the services that the mirror of a service copies calls to.
func (s Service) mirrors(service string) []edge {
	if s.Mirror == nil {
		return nil
	}
	var list []edge
	for _, target := range slices.Sorted(maps.Keys(s.Mirror.To)) {
		if to, ok := strings.CutPrefix(target, prefixService); ok {
			list = append(list, edge{to, join("services", service) + ".mirror.to"})
		}
	}
	return list
}

// walk is a depth-first search for cycles and for chains that are too long. Its maps are keyed by service.
type walk struct {
	graph graph

	// state is 0 for a new service, then visiting, then done.
	state map[string]int
	stack []string

	// depth is the length of the longest chain of services behind this one, next the first of that chain.
	depth map[string]int
	next  map[string]string

	// count is the number of levels of the longest plan, including the levels of other services.
	count map[string]int
}

const (
	visiting = 1
	done     = 2
)

// check reports cycles, and chains that are too long, to the problems of the documents they are in.
func (g graph) check() {
	w := walk{
		graph: g, state: map[string]int{}, depth: map[string]int{}, next: map[string]string{}, count: map[string]int{},
	}
	for _, name := range slices.Sorted(maps.Keys(g)) {
		w.visit(name)
	}
}

func (w *walk) visit(name string) {
	e, known := w.graph[name]
	if w.state[name] != 0 {
		return
	}
	w.state[name] = visiting
	w.stack = append(w.stack, name)
	inBounds := true
	for _, edge := range e.service.edges(name) {
		if w.state[edge.to] == visiting {
			circle := append(slices.Clone(w.stack[slices.Index(w.stack, edge.to):]), edge.to)
			e.problems.invalid(edge.path, "calls would go in a circle: %s; remove one of these steps", chain(circle))
			continue
		}
		w.visit(edge.to)
		inBounds = inBounds && w.depth[edge.to] <= MaxDepth && w.count[edge.to] <= MaxLevels
		if d := w.depth[edge.to] + 1; d > w.depth[name] {
			w.depth[name], w.next[name] = d, edge.to
		}
	}
	w.count[name] = w.levels(name, e.service)
	w.state[name] = done
	w.stack = w.stack[:len(w.stack)-1]
	// Only the first service that exceeds a bound is reported, not those that lead to it.
	if !known || !inBounds {
		return
	}
	if at := join("services", name); w.depth[name] > MaxDepth {
		e.problems.add(ErrLimit, at, "has %d services one behind another, want at most %d: %s", w.depth[name], MaxDepth, w.longest(name))
	} else if w.count[name] > MaxLevels {
		e.problems.add(ErrLimit, at, "has %d levels of failover for one call, those of other services included; want at most %d", w.count[name], MaxLevels)
	}
}

// levels counts the levels of the longest plan of a service. Services behind it that exceed MaxLevels
// were reported before.
func (w *walk) levels(name string, s Service) int {
	most := 1
	s.paths(name, func(to Split, _ string, failover []string, _ string) {
		targets := slices.Collect(maps.Keys(to))
		if len(targets) == 0 {
			targets = []string{wordAny}
		}
		for _, target := range targets {
			n := 0
			for _, step := range steps(name, target, failover) {
				if step.service == name {
					n++
				} else {
					n += w.count[step.service]
				}
			}
			most = max(most, n)
		}
	})
	return most
}

// longest prints the longest chain that begins with a service.
func (w *walk) longest(name string) string {
	list := []string{name}
	for next := w.next[name]; next != ""; next = w.next[next] {
		list = append(list, next)
	}
	return chain(list)
}

// chain prints a chain of services; it leaves out the middle of a long one.
func chain(names []string) string {
	const most = 12
	if len(names) > most {
		names = slices.Concat(names[:most/2], []string{"…"}, names[len(names)-most/2:])
	}
	return strings.Join(names, " -> ")
}
