package policy_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

// numbered returns n distinct words.
func numbered(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint("w", i)
	}
	return list
}

// outOfBounds returns the error of compiling a trusted document with one service.
func outOfBounds(s topology.Service) error { return outOf(policytest.Of(s)) }

func outOf(docs ...*topology.Document) error {
	layers := make([]policy.Layer, len(docs))
	for i, doc := range docs {
		layers[i] = policy.Layer{Document: doc, Trusted: true}
		if len(docs) == 1 {
			if err := doc.Validate(); err != nil {
				return err
			}
		}
	}
	_, err := policy.Compile(policy.Options{AllowFaults: true}, layers...)
	return err
}

func aSubset(s topology.Subset) error {
	return outOfBounds(topology.Service{Subsets: map[string]topology.Subset{"a": s}})
}

func aRoute(r topology.Route) error {
	return outOfBounds(topology.Service{Routes: []topology.Route{r}})
}

func servicesNamed(names []string) *topology.Document {
	doc := &topology.Document{Services: map[string]topology.Service{}}
	for _, name := range names {
		doc.Services[name] = topology.Service{}
	}
	return doc
}

func subsetsNamed(names []string) map[string]topology.Subset {
	subsets := map[string]topology.Subset{}
	for _, name := range names {
		subsets[name] = topology.Subset{Tags: []string{name}}
	}
	return subsets
}

func pairsNamed(names []string) map[string]string {
	pairs := map[string]string{}
	for _, name := range names {
		pairs[name] = "v"
	}
	return pairs
}

// levelsInAll returns a document in which a call to s0 has n levels over a chain of services.
func levelsInAll(n int) *topology.Document {
	const most = 10
	doc := &topology.Document{Services: map[string]topology.Service{}}
	for i := 0; n > 0; i++ {
		// The target itself is one level.
		own := numbered(min(n, most) - 1)
		s := topology.Service{Subsets: subsetsNamed(own)}
		for _, name := range own {
			s.Failover = append(s.Failover, "subset:"+name)
		}
		if n -= most; n > 0 {
			s.Failover = append(s.Failover, fmt.Sprint("service:s", i+1))
		}
		doc.Services[fmt.Sprint("s", i)] = s
	}
	return doc
}

// chainOf returns a document of n services, each of which fails over to the next.
func chainOf(n int) *topology.Document {
	doc := &topology.Document{Services: map[string]topology.Service{}}
	for i := range n {
		doc.Services[fmt.Sprint("s", i)] = topology.Service{Failover: []string{fmt.Sprint("service:s", i+1)}}
	}
	return doc
}

// TestEveryBoundHoldsWhereItSays asks for as much as each bound allows, which is accepted, and for one more, which is
// refused with the error in the last field. It covers all constants Max….
func TestEveryBoundHoldsWhereItSays(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	parse := func(text string) error { _, err := topology.Parse("t.yaml", []byte(text)); return err }
	durations := func(d time.Duration) map[string]error {
		return map[string]error{
			"defaults.timeout": outOf(&topology.Document{Defaults: topology.Defaults{Timeout: d}}),
			"timeout":          outOfBounds(topology.Service{Timeout: d}),
			"route.timeout":    aRoute(topology.Route{Timeout: d}),
			"slow_start":       outOfBounds(topology.Service{LB: topology.LoadBalancing{SlowStart: d}}),
			"interval":         outOfBounds(topology.Service{Outlier: &topology.Outlier{Interval: d}}),
			"eject":            outOfBounds(topology.Service{Outlier: &topology.Outlier{Eject: d}}),
			"delay":            outOfBounds(topology.Service{Fault: &topology.Fault{Delay: d, Percent: 1}}),
		}
	}
	tests := []struct {
		bound, of string
		most      int
		take      func(n int) error
		want      string
	}{
		{"MaxDocument", "bytes", limits.MaxDocument, func(n int) error {
			const begins = "version: link/v1\n#"
			return parse(begins + text(n-len(begins)))
		}, "has 1048577 bytes, want at most 1048576"},
		{"MaxServices", "one document", limits.MaxServices, func(n int) error { return outOf(servicesNamed(numbered(n))) }, "has 4097 services, want at most 4096"},
		{"MaxServices", "all layers", limits.MaxServices, func(n int) error {
			return outOf(servicesNamed(numbered(n-1)), servicesNamed([]string{"w0", "other"}))
		}, "has 4097 services in all layers, want at most 4096"},
		{"MaxSubsets", "a service", limits.MaxSubsets, func(n int) error {
			return outOfBounds(topology.Service{Subsets: subsetsNamed(numbered(n))})
		}, "has 65 subsets, want at most 64"},
		{"MaxRoutes", "a service", limits.MaxRoutes, func(n int) error {
			var routes []topology.Route
			for _, name := range numbered(n) {
				routes = append(routes, topology.Route{Match: topology.Match{Method: name}})
			}
			return outOfBounds(topology.Service{Routes: routes})
		}, "has 257 routes, want at most 256"},
		{"MaxTargets", "a split", limits.MaxTargets, func(n int) error {
			split := topology.Split{}
			for _, name := range numbered(n) {
				split["service:"+name] = 0
			}
			split["service:w0"] = 100
			return aRoute(topology.Route{To: split})
		}, "has 17 targets, want at most 16"},
		{"MaxTargets", "callers", limits.MaxTargets, func(n int) error {
			return aRoute(topology.Route{Match: topology.Match{Caller: numbered(n)}})
		}, "has 17 callers, want at most 16"},
		{"MaxFailover", "a list", limits.MaxFailover, func(n int) error {
			list := numbered(n)
			for i := range list {
				list[i] = "service:" + list[i]
			}
			return outOfBounds(topology.Service{Failover: list})
		}, "has 17 entries, want at most 16"},
		{"MaxPairs", "tags", limits.MaxPairs, func(n int) error { return aSubset(topology.Subset{Tags: numbered(n)}) }, "has 65 tags and pairs of meta, want at most 64"},
		{"MaxPairs", "meta", limits.MaxPairs, func(n int) error {
			return aSubset(topology.Subset{Tags: []string{"t"}, Meta: pairsNamed(numbered(n - 1))})
		}, "has 65 tags and pairs of meta, want at most 64"},
		{"MaxPairs", "a match", limits.MaxPairs, func(n int) error {
			return aRoute(topology.Route{Match: topology.Match{Meta: pairsNamed(numbered(n))}})
		}, "has 65 pairs, want at most 64"},
		{"MaxName", "a service", limits.MaxName, func(n int) error { return outOf(servicesNamed([]string{text(n)})) }, "want at most 255 bytes"},
		{"MaxName", "a subset", limits.MaxName, func(n int) error {
			return outOfBounds(topology.Service{Subsets: subsetsNamed([]string{text(n)})})
		}, "want at most 255 bytes"},
		{"MaxName", "a tag", limits.MaxName, func(n int) error { return aSubset(topology.Subset{Tags: []string{text(n)}}) }, "want at most 255 bytes, has 256"},
		{"MaxName", "a key", limits.MaxName, func(n int) error { return aSubset(topology.Subset{Meta: pairsNamed([]string{text(n)})}) }, "want at most 255 bytes, has 256"},
		{"MaxName", "a pattern", limits.MaxName, func(n int) error {
			return aRoute(topology.Route{Match: topology.Match{Method: text(n)}})
		}, "want at most 255 bytes, has 256"},
		{"MaxName", "sticky", limits.MaxName, func(n int) error { return aRoute(topology.Route{Sticky: "meta:" + text(n)}) }, "want meta:<key>"},
		{"MaxValue", "a value", limits.MaxValue, func(n int) error {
			return aSubset(topology.Subset{Meta: map[string]string{"k": text(n)}})
		}, "want at most 512 bytes, has 513"},
		{"MaxAttempts", "a service", limits.MaxAttempts, func(n int) error {
			return outOfBounds(topology.Service{Retry: topology.Retry{Attempts: n}})
		}, "is 6, want 1 (no retries) to 5"},
		{"MaxAttempts", "defaults", limits.MaxAttempts, func(n int) error {
			return outOf(&topology.Document{Defaults: topology.Defaults{Retry: topology.Retry{Attempts: n}}})
		}, "is 6, want 1 (no retries) to 5"},
		{"MaxDepth", "a chain", limits.MaxDepth, func(n int) error { return outOf(chainOf(n)) }, "has 9 services one behind another, want at most 8"},
		{"MaxLevels", "a call", limits.MaxLevels, func(n int) error { return outOf(levelsInAll(n)) }, "has 65 levels of failover for one call, those of other services included; want at most 64"},
		{"MaxSubsetting", "lb.subset", limits.MaxSubsetting, func(n int) error {
			return outOfBounds(topology.Service{LB: topology.LoadBalancing{Subset: n}})
		}, "is 10001, want at most 10000"},
		{"MaxNesting", "levels", limits.MaxNesting, func(n int) error {
			// No valid document is nested as deeply, so only the error of the bound counts.
			err := parse("version: link/v1\nservices: " + strings.Repeat("[", n-1) + "x" + strings.Repeat("]", n-1))
			if errors.Is(err, topology.ErrLimit) {
				return err
			}
			return nil
		}, "is nested deeper than 16 levels"},
		{"MaxProblems", "a document", limits.MaxProblems, func(n int) error {
			err := outOfBounds(topology.Service{Failover: numbered(1), Routes: func() (routes []topology.Route) {
				for _, name := range numbered(n - 1) {
					routes = append(routes, topology.Route{Match: topology.Match{Method: name}, To: topology.Split{"blue": 100}})
				}
				return routes
			}()})
			// Every problem is reported.
			if err == nil || !strings.Contains(err.Error(), "more problem") {
				return nil
			}
			return err
		}, "and 1 more problem"},
		{"100 %", "a budget", 100, func(n int) error {
			return outOfBounds(topology.Service{Retry: topology.Retry{Budget: topology.Percent(n)}})
		}, "is 101%, want more than 0% to 100%"},
		{"100 %", "panic", 100, func(n int) error {
			return outOfBounds(topology.Service{LB: topology.LoadBalancing{Panic: topology.Percent(n)}})
		}, "is 101%, want 0% (off) to 100%"},
		{"100 %", "outlier.max", 100, func(n int) error {
			return outOfBounds(topology.Service{Outlier: &topology.Outlier{Max: topology.Percent(n)}})
		}, "is 101%, want 0% (off) to 100%"},
		{"100 %", "a mirror", 100, func(n int) error {
			return outOfBounds(topology.Service{Mirror: &topology.Mirror{Percent: topology.Percent(n)}})
		}, "is 101%, want more than 0% to 100%"},
		{"100 %", "a fault", 100, func(n int) error {
			return outOfBounds(topology.Service{Fault: &topology.Fault{Abort: "internal", Percent: topology.Percent(n)}})
		}, "is 101%, want more than 0% to 100%"},
		{"100 %", "a share", 100, func(n int) error { return aRoute(topology.Route{To: topology.Split{"any": n}}) }, "has a share of 101, want 0 to 100"},
	}
	covered := map[string]bool{}
	for _, test := range tests {
		covered[test.bound] = true
		t.Run(test.bound+" "+test.of, func(t *testing.T) {
			if err := test.take(test.most); err != nil {
				t.Errorf("%d are refused: %v", test.most, err)
			}
			if err := test.take(test.most + 1); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("one more: %v, want %q", err, test.want)
			}
		})
	}
	covered["MaxDuration"] = true
	for field, err := range durations(limits.MaxDuration) {
		if err != nil {
			t.Errorf("MaxDuration %s: %v is refused: %v", field, limits.MaxDuration, err)
		}
	}
	for field, err := range durations(limits.MaxDuration + 1) {
		if want := "is 24h0m0.000000001s, want at most 24h0m0s"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("MaxDuration %s, one more: %v, want %q", field, err, want)
		}
	}
	for _, name := range constantsOf(t, "limits/limits.go", "Max") {
		if !covered[name] {
			t.Errorf("no row for %s", name)
		}
	}
}

// constantsOf returns the constants of a file whose names begin with one of prefixes.
func constantsOf(t *testing.T, file string, prefixes ...string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, decl := range parsed.Decls {
		consts, ok := decl.(*ast.GenDecl)
		if !ok || consts.Tok != token.CONST {
			continue
		}
		for _, spec := range consts.Specs {
			if values, ok := spec.(*ast.ValueSpec); ok {
				for _, name := range values.Names {
					if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name.Name, p) }) {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	if len(names) == 0 {
		t.Fatalf("%s has no constants %q", file, prefixes)
	}
	return names
}
