package topology

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// graph is the services of a policy by name; targets and failovers lead from one to another.
type graph map[string]entry

type entry struct {
	service  Service
	problems *problems // the problems of the document that the entry is from
	trusted  bool
}

// edge is one word that leads to another service.
type edge struct {
	to   string
	path string // the path of the field
}

// paths calls yield for each "to" of a service and the failover list that goes with it, where nil
// routes have those of the service. The last is what happens to a call that no route matches.
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

// edges returns where calls to a service may go, mirrors aside, each service once.
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

// mirrors returns what the mirror of a service points at.
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

// walk is one search for circles, and for what lies too deep.
type walk struct {
	graph graph
	state map[string]int // 0 new, visiting, done
	stack []string
	depth map[string]int    // services behind this one, at most
	next  map[string]string // the first of them
	count map[string]int    // levels of a call, those of other services included, at most
}

const (
	visiting = 1
	done     = 2
)

// check reports circles, and chains that are too long, to the documents they are in.
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
	if !known || !inBounds { // what is too deep is reported once, where it begins to be
		return
	}
	if at := join("services", name); w.depth[name] > MaxDepth {
		e.problems.add(ErrLimit, at, "has %d services one behind another, want at most %d: %s", w.depth[name], MaxDepth, w.longest(name))
	} else if w.count[name] > MaxLevels {
		e.problems.add(ErrLimit, at, "has %d levels of failover for one call, those of other services included; want at most %d", w.count[name], MaxLevels)
	}
}

// levels counts those of the longest plan. Children that exceed MaxLevels were reported before.
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

// longest prints the chain behind a service.
func (w *walk) longest(name string) string {
	list := []string{name}
	for next := w.next[name]; next != ""; next = w.next[next] {
		list = append(list, next)
	}
	return chain(list)
}

// chain prints services one behind another, the middle of a long one left out.
func chain(names []string) string {
	const most = 12
	if len(names) > most {
		names = slices.Concat(names[:most/2], []string{"…"}, names[len(names)-most/2:])
	}
	return strings.Join(names, " -> ")
}
