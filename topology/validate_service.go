package topology

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/policy/errtext"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/policy/reach"
)

// serviceCheck checks the entry of one service in a document; all holds all entries of the document.
type serviceCheck struct {
	*problems

	path    string
	name    string
	subsets map[string]Subset
	all     map[string]Service
}

func (v serviceCheck) service(s Service) {
	at := errtext.Path(v.path, "subsets")
	v.limit(at, "subsets", len(s.Subsets), limits.MaxSubsets)
	for _, name := range slices.Sorted(maps.Keys(s.Subsets)) {
		v.subset(at, name, s.Subsets[name])
	}
	v.routes(errtext.Path(v.path, "routes"), s.Routes)
	v.failover(errtext.Path(v.path, "failover"), s.Failover)
	v.duration(errtext.Path(v.path, "timeout"), s.Timeout)
	v.retry(errtext.Path(v.path, "retry"), s.Retry)
	v.loadBalancing(errtext.Path(v.path, "lb"), s.LB)
	if s.Outlier != nil {
		v.outlier(errtext.Path(v.path, "outlier"), *s.Outlier)
	}
	if s.Mirror != nil {
		at := errtext.Path(v.path, "mirror")
		v.split(errtext.Path(at, "to"), s.Mirror.To)
		v.share(at, s.Mirror.Percent)
	}
	if s.Fault != nil {
		v.fault(errtext.Path(v.path, "fault"), *s.Fault)
	}
}

func (v serviceCheck) subset(path, name string, s Subset) {
	at := errtext.Path(path, name)
	if reason := badSubset(name); reason != "" {
		v.invalid(at, "%s cannot be the name of a subset: %s", errtext.Quote(name), reason)
		return
	}
	if s.Name != "" && s.Name != name {
		v.invalid(at, "has the name %s; leave Subset.Name empty", errtext.Quote(s.Name))
	}
	if len(s.Tags)+len(s.Meta) == 0 {
		v.invalid(at, `needs tags or meta; every instance is "any"`)
	}
	v.limit(at, "tags and pairs of meta", len(s.Tags)+len(s.Meta), limits.MaxPairs)
	for i, tag := range s.Tags {
		tagAt := fmt.Sprintf("%s[%d]", errtext.Path(at, "tags"), i)
		switch reason := badText(tag, limits.MaxName); {
		case tag == "":
			v.invalid(tagAt, "is empty")
		case reason != "":
			v.invalid(tagAt, "%s", reason)
		case strings.Contains(tag, " "):
			v.invalid(tagAt, "%s has a space; a list of tags is [v1, eu]", errtext.Quote(tag))
		case slices.Contains(s.Tags[:i], tag):
			v.invalid(tagAt, "%s is there twice", errtext.Quote(tag))
		}
	}
	v.pairs(errtext.Path(at, "meta"), s.Meta)
}

func (v serviceCheck) pairs(path string, pairs map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		at := errtext.Path(path, key)
		if reason := badText(key, limits.MaxName); key == "" || reason != "" {
			v.invalid(at, "the key %s", cmp.Or(reason, "is empty"))
		}
		if reason := badText(pairs[key], limits.MaxValue); reason != "" {
			v.invalid(at, "%s", reason)
		}
	}
}

// metaKey checks that s has the form "meta:<key>".
func (v serviceCheck) metaKey(path, s string) {
	key, ok := strings.CutPrefix(s, reach.MetaPrefix)
	if reason := badText(key, limits.MaxName); !ok || key == "" || reason != "" {
		v.invalid(path, "is %s, want meta:<key>, the key of a pair of the call's metadata, such as meta:user-id", errtext.Quote(s))
	}
}

// share checks the percentage of a mirror or fault.
func (v serviceCheck) share(path string, p Percent) {
	switch {
	case p == 0:
		v.invalid(errtext.Path(path, "percent"), "is missing; want the share of the calls, such as 1%%")
	case !(p > 0 && p <= 100):
		v.invalid(errtext.Path(path, "percent"), "is %v, want more than 0%% to 100%%", p)
	}
}

func (v serviceCheck) loadBalancing(path string, lb LoadBalancing) {
	known := []string{string(P2C), string(RoundRobin), string(Hash)}
	bad := lb.Policy != "" && !slices.Contains(known, string(lb.Policy))
	if bad {
		v.invalid(errtext.Path(path, "policy"), "%s is not known%s", errtext.Quote(string(lb.Policy)), meant(string(lb.Policy), known))
	}
	if at := errtext.Path(path, "key"); lb.Key != "" {
		v.metaKey(at, lb.Key)
		if lb.Policy != Hash && !bad {
			v.invalid(at, "is for policy hash, but the policy is %s", cmp.Or(lb.Policy, P2C))
		}
	}
	if lb.Panic != lb.Panic || lb.Panic > 100 {
		v.invalid(errtext.Path(path, "panic"), "is %v, want 0%% (off) to 100%%", lb.Panic)
	}
	v.duration(errtext.Path(path, "slow_start"), max(lb.SlowStart, 0))
	if lb.Subset > limits.MaxSubsetting {
		v.add(ErrLimit, errtext.Path(path, "subset"), "is %d, want at most %d; 0 switches it off", lb.Subset, limits.MaxSubsetting)
	}
	if lb.ZoneAware > On {
		v.invalid(errtext.Path(path, "zone_aware"), "is %d, want On, Off or 0", lb.ZoneAware)
	}
}

func (v serviceCheck) outlier(path string, o Outlier) {
	if o.Errors < 0 {
		v.invalid(errtext.Path(path, "errors"), "is %d, want 1 or more", o.Errors)
	}
	for _, f := range []struct {
		key   string
		value time.Duration
	}{{"interval", o.Interval}, {"eject", o.Eject}} {
		v.duration(errtext.Path(path, f.key), f.value)
	}
	if o.Max != o.Max || o.Max > 100 {
		v.invalid(errtext.Path(path, "max"), "is %v, want 0%% (off) to 100%%", o.Max)
	}
}

func (v serviceCheck) fault(path string, f Fault) {
	v.duration(errtext.Path(path, "delay"), f.Delay)
	if f.Abort != "" {
		if _, ok := codes.Number(f.Abort); !ok {
			v.invalid(errtext.Path(path, "abort"), "%s is not a code%s", errtext.Quote(f.Abort), meant(f.Abort, codes.Names()))
		}
	}
	if f.Delay == 0 && f.Abort == "" {
		v.invalid(path, "does nothing; give it a delay, such as 200ms, or a code to abort with, such as unavailable")
	}
	v.share(path, f.Percent)
}

// split checks targets and their shares.
func (v serviceCheck) split(path string, to Split) {
	v.limit(path, "targets", len(to), limits.MaxTargets)
	sum, bad := 0, false
	for _, target := range slices.Sorted(maps.Keys(to)) {
		at := path
		// A single target may be written without a share, and then has no path of its own.
		if len(to) > 1 {
			at = errtext.Path(path, target)
		}
		v.target(at, target)
		if share := to[target]; share < 0 || share > whole {
			v.invalid(at, "has a share of %d, want 0 to %d", share, whole)
			bad = true
		} else {
			sum += share
		}
	}
	if len(to) > 0 && sum != whole && !bad {
		v.invalid(path, "the shares add up to %d, want %d", sum, whole)
	}
}

// target checks one target of a split.
func (v serviceCheck) target(path, target string) {
	if service, ok := strings.CutPrefix(target, reach.ServicePrefix); ok {
		v.serviceName(path, service)
		return
	}
	if target == reach.Any {
		return
	}
	if _, ok := v.subsets[target]; ok {
		return
	}
	if name, ok := strings.CutPrefix(target, reach.SubsetPrefix); ok {
		v.invalid(path, "is %s; a target is the name of the subset alone: %s", errtext.Quote(target), errtext.Quote(name))
		return
	}
	if reach.IsScope(target) {
		v.invalid(path, "%s is a word of failover lists, not a target", target)
		return
	}
	v.noSubset(path, target, true)
}

// noSubset reports a subset that is not defined.
func (v serviceCheck) noSubset(path, name string, target bool) {
	known := slices.Collect(maps.Keys(v.subsets))
	hint := meant(name, known)
	if target {
		if d := distance(name, reach.Any); hint == "" && d < len(reach.Any) {
			hint = meant(name, []string{reach.Any})
		}
		if hint == "" {
			hint = "; another service is service:<name>"
		}
	}
	v.invalid(path, "subset %s is not defined in %s%s", errtext.Quote(name), errtext.Path(v.path, "subsets"), hint)
}

func (v serviceCheck) serviceName(path, name string) {
	if reason := badService(name); reason != "" {
		v.invalid(path, "%s cannot be the name of a service: %s", errtext.Quote(name), reason)
	}
}

// failover checks the words of a failover list, and that each can be reached.
func (v serviceCheck) failover(path string, list []string) {
	v.limit(path, "entries", len(list), limits.MaxFailover)
	// wider is the word after which narrower ones are never reached.
	wider := ""
	for i, word := range list {
		at := path + "[" + strconv.Itoa(i) + "]"
		if slices.Contains(list[:i], word) {
			v.invalid(at, "%s is there twice", errtext.Quote(word))
			continue
		}
		subset, isSubset := strings.CutPrefix(word, reach.SubsetPrefix)
		service, isService := strings.CutPrefix(word, reach.ServicePrefix)
		switch {
		case word == reach.Any || reach.IsScope(word):
			v.reached(at, list, i, wider)
		case isService:
			v.serviceName(at, service)
		case isSubset:
			if _, ok := v.subsets[subset]; !ok {
				v.noSubset(at, subset, false)
			}
		default:
			v.unknownWord(at, word)
		}
		if word == reach.Any || i == 0 && !reach.IsScope(word) || word == reach.Region && wider == "" {
			wider = word
		}
	}
}

// reached checks that no level before holds all instances of the i-th level.
func (v serviceCheck) reached(path string, list []string, i int, wider string) {
	word := list[i]
	switch {
	case wider == "" || wider == reach.Region && word != reach.Zone:
	case wider == reach.Any || wider == reach.Region:
		v.invalid(path, "%s is never reached: %s before it holds the same instances; put it first", word, wider)
	default:
		v.invalid(path, "%s is never reached: a list that begins with %s begins with the target everywhere; put it first", word, errtext.Quote(list[0]))
	}
}

func (v serviceCheck) unknownWord(path, word string) {
	const want = "want zone, region, dc, any, subset:<name> or service:<name>"
	if _, ok := v.subsets[word]; ok {
		v.invalid(path, "is %s, %s; did you mean %s?", errtext.Quote(word), want, errtext.Quote(reach.SubsetPrefix+word))
		return
	}
	v.invalid(path, "is %s, %s", errtext.Quote(word), want)
}
