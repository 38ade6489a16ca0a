package reach

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/linkmesh/link/internal/policy/errtext"
	"github.com/linkmesh/link/internal/policy/limits"
)

// Finding is a circle of services, or a chain that is too long.
type Finding struct {
	// Service is the service whose entry has the field at Path.
	Service string
	Path    string

	// TooLong tells a chain that exceeds a bound from a circle.
	TooLong bool

	// Reason says what is wrong, and how to fix it.
	Reason string
}

// walk is a depth-first search for cycles and for chains that are too long. Its maps are keyed by service.
type walk struct {
	services map[string]Service
	findings []Finding

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

// Check finds circles among services, whose targets and failovers lead from one to another, and chains that are too
// long.
func Check(services map[string]Service) []Finding {
	w := walk{
		services: services, state: map[string]int{}, depth: map[string]int{}, next: map[string]string{}, count: map[string]int{},
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		w.visit(name)
	}
	return w.findings
}

func (w *walk) visit(name string) {
	service, known := w.services[name]
	if w.state[name] != 0 {
		return
	}
	w.state[name] = visiting
	w.stack = append(w.stack, name)
	inBounds := true
	for _, edge := range service.Edges(name) {
		if w.state[edge.To] == visiting {
			circle := append(slices.Clone(w.stack[slices.Index(w.stack, edge.To):]), edge.To)
			w.findings = append(w.findings, Finding{
				Service: name, Path: edge.Path,
				Reason: fmt.Sprintf("calls would go in a circle: %s; remove one of these steps", chain(circle)),
			})
			continue
		}
		w.visit(edge.To)
		inBounds = inBounds && w.depth[edge.To] <= limits.MaxDepth && w.count[edge.To] <= limits.MaxLevels
		if d := w.depth[edge.To] + 1; d > w.depth[name] {
			w.depth[name], w.next[name] = d, edge.To
		}
	}
	w.count[name] = w.levels(name, service)
	w.state[name] = done
	w.stack = w.stack[:len(w.stack)-1]
	// Only the first service that exceeds a bound is reported, not those that lead to it.
	if !known || !inBounds {
		return
	}
	if w.depth[name] > limits.MaxDepth {
		w.tooLong(name, "has %d services one behind another, want at most %d: %s", w.depth[name], limits.MaxDepth, w.longest(name))
	} else if w.count[name] > limits.MaxLevels {
		w.tooLong(name, "has %d levels of failover for one call, those of other services included; want at most %d", w.count[name], limits.MaxLevels)
	}
}

// tooLong reports a service that exceeds a bound.
func (w *walk) tooLong(name, format string, args ...any) {
	w.findings = append(w.findings, Finding{
		Service: name, Path: errtext.Path("services", name), TooLong: true, Reason: fmt.Sprintf(format, args...),
	})
}

// levels counts the levels of the longest plan of a service. Services behind it that exceed MaxLevels
// were reported before.
func (w *walk) levels(name string, s Service) int {
	most := 1
	s.paths(name, func(to map[string]int, _ string, failover []string, _ string) {
		targets := slices.Collect(maps.Keys(to))
		if len(targets) == 0 {
			targets = []string{Any}
		}
		for _, target := range targets {
			n := 0
			for _, step := range Steps(name, target, failover) {
				if step.Service == name {
					n++
				} else {
					n += w.count[step.Service]
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
