package policy_test

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/topology"
)

// chiSquare returns the statistic of Pearson's chi-square test.
func chiSquare(got map[string]int, shares topology.Split, picks int) float64 {
	sum := 0.0
	for target, share := range shares {
		if share > 0 {
			want := float64(picks) * float64(share) / 100
			d := float64(got[target]) - want
			sum += d * d / want
		}
	}
	return sum
}

// critical999 holds the 99.9 % quantiles of the chi-square distribution with 1, 2, … degrees of
// freedom (NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.4). Seeds and keys are fixed, so a
// test always passes or always fails.
var critical999 = []float64{0, 10.828, 13.816, 16.266, 18.467, 20.515}

func splitDocument(shares topology.Split, sticky string) *topology.Document {
	s := topology.Service{Subsets: map[string]topology.Subset{}, Routes: []topology.Route{{To: shares, Sticky: sticky}}}
	for target := range shares {
		if target != "any" && !strings.HasPrefix(target, "service:") {
			s.Subsets[target] = topology.Subset{Tags: []string{target}}
		}
	}
	return policytest.Of(s)
}

func TestSharesAreKept(t *testing.T) {
	picks := race.Fewer(100_000, 20_000)
	for _, shares := range []topology.Split{
		{"stable": 95, "canary": 5},
		{"stable": 99, "canary": 1},
		{"a": 50, "b": 30, "any": 20},
		{"a": 40, "b": 30, "c": 20, "service:d": 10},
		{"a": 20, "b": 20, "c": 20, "d": 20, "e": 20, "f": 0},
	} {
		plans := policytest.CompiledDocument(t, splitDocument(shares, "meta:user")).Service("orders")
		var random *rand.Rand
		for name, request := range map[string]func(i int) policy.Request{
			"by chance":           func(int) policy.Request { return policy.Request{Random: random.Uint64()} },
			"by numbers in a row": func(i int) policy.Request { return policy.Request{Random: uint64(i)} },
			"by the metadata": func(i int) policy.Request {
				return policy.Request{Meta: policy.MetadataMap{"user": fmt.Sprint("u", i)}}
			},
			"by the call's key": func(i int) policy.Request { return policy.Request{Key: fmt.Sprintf("user-%08d", i)} },
			"by chance, no user": func(int) policy.Request {
				return policy.Request{Meta: policy.MetadataMap{}, Random: random.Uint64()}
			},
			"by chance, user \"\"": func(int) policy.Request {
				return policy.Request{Meta: policy.MetadataMap{"user": ""}, Random: random.Uint64()}
			},
		} {
			// Each case gets the same numbers.
			random = rand.New(rand.NewPCG(1, 3))
			got, kinds := map[string]int{}, -1
			for i := range picks {
				r := request(i)
				got[plans.Route(&r).Target]++
			}
			for target, share := range shares {
				if share > 0 {
					kinds++
				} else if got[target] > 0 {
					t.Errorf("%v %s: a share of nothing got %d", shares, name, got[target])
				}
			}
			if x := chiSquare(got, shares, picks); x > critical999[kinds] {
				t.Errorf("%v %s: chi-square %.2f, want at most %.2f: %v", shares, name, x, critical999[kinds], got)
			}
		}
	}
}

// choices returns the targets of 20,000 users.
func choices(t *testing.T, shares topology.Split) []string {
	t.Helper()
	plans := policytest.CompiledDocument(t, splitDocument(shares, "meta:user")).Service("orders")
	list := make([]string, 20_000)
	for i := range list {
		list[i] = plans.Route(&policy.Request{Meta: policy.MetadataMap{"user": fmt.Sprint("u", i)}, Random: rand.Uint64()}).Target
	}
	return list
}

func TestGrowingOneTargetMovesUsersOnlyToIt(t *testing.T) {
	for _, test := range []struct{ before, after topology.Split }{
		{topology.Split{"a": 95, "z": 5}, topology.Split{"a": 90, "z": 10}},
		{topology.Split{"a": 90, "z": 10}, topology.Split{"a": 0, "z": 100}},
		{topology.Split{"z": 5, "zz": 95}, topology.Split{"z": 25, "zz": 75}},
		{topology.Split{"a": 60, "b": 30, "z": 10}, topology.Split{"a": 40, "b": 20, "z": 40}},
		{topology.Split{"a": 30, "b": 30, "c": 30, "z": 10}, topology.Split{"a": 20, "b": 20, "c": 20, "z": 40}},
		{topology.Split{"a": 20, "b": 20, "c": 20, "d": 20, "z": 20}, topology.Split{"a": 15, "b": 15, "c": 15, "d": 15, "z": 40}},
		{topology.Split{"a": 50, "b": 50}, topology.Split{"a": 48, "b": 48, "z": 4}},
	} {
		before, after := choices(t, test.before), choices(t, test.after)
		moved := 0
		for i := range before {
			if before[i] == after[i] {
				continue
			}
			moved++
			if after[i] != "z" {
				t.Fatalf("%v to %v: user %d moved from %s to %s", test.before, test.after, i, before[i], after[i])
			}
		}
		grown := float64(test.after["z"]-test.before["z"]) / 100 * float64(len(before))
		if float64(moved) < 0.9*grown || float64(moved) > 1.1*grown {
			t.Errorf("%v to %v: %d of %d users moved, want about %.0f", test.before, test.after, moved, len(before), grown)
		}
	}
}

// TestUsersNeverMoveToATargetThatShrank checks that users move only to targets whose share grew
// relative to the share of the target they leave.
func TestUsersNeverMoveToATargetThatShrank(t *testing.T) {
	before, after := topology.Split{"a": 50, "b": 45, "c": 5}, topology.Split{"a": 50, "b": 40, "c": 10}
	was, is := choices(t, before), choices(t, after)
	for i := range was {
		if from, to := was[i], is[i]; from != to && after[to]*before[from] <= before[to]*after[from] {
			t.Fatalf("user %d moved from %s to %s", i, from, to)
		}
	}
}

func TestStickyChoiceIsIndependentOfEverythingElse(t *testing.T) {
	shares := topology.Split{"stable": 70, "canary": 30}
	alone := policytest.CompiledDocument(t, splitDocument(shares, "meta:user")).Service("orders")
	doc := splitDocument(shares, "meta:user")
	orders := doc.Services["orders"]
	orders.Subsets["extra"] = topology.Subset{Tags: []string{"x"}}
	orders.Routes = append([]topology.Route{{Match: topology.Match{Method: "a"}, To: topology.Split{"extra": 100}}}, orders.Routes...)
	orders.Failover = []string{"zone", "subset:extra"}
	doc.Services["orders"] = orders
	other := policytest.CompiledDocument(t, doc).Service("orders")
	for i := range 2000 {
		r := policy.Request{Meta: policy.MetadataMap{"user": fmt.Sprint(i)}, Random: rand.Uint64()}
		if a, b := alone.Route(&r).Target, other.Route(&r).Target; a != b {
			t.Fatalf("user %d: %s alone, %s with another rule before", i, a, b)
		}
	}
}

// TestChoicesNeverChange pins the choices that all processes of a mesh make, whatever their version
// and platform. If it fails, an upgrade would move users: restore the hash.
func TestChoicesNeverChange(t *testing.T) {
	plans := policytest.CompiledDocument(t, splitDocument(topology.Split{"stable": 60, "canary": 40}, "")).Service("orders")
	var got []string
	for i := range 16 {
		got = append(got, plans.Route(&policy.Request{Key: fmt.Sprint("u", i)}).Target[:1])
	}
	if got, want := strings.Join(got, ""), "cccccssccsscssss"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	key, _ := plans.Route(&policy.Request{}).KeyOf(&policy.Request{Key: "u1"})
	fnv1a := fnv.New64a()
	fnv1a.Write([]byte("u1"))
	if reference := fmix64(fnv1a.Sum64()); key != reference {
		t.Errorf("got key %#x, want FNV-1a and fmix64: %#x", key, reference)
	}
	if want := uint64(0x63b9b7f52c45b2b1); key != want {
		t.Errorf("got key %#x, want %#x", key, want)
	}
}

// fmix64 is the finalizer of the published MurmurHash3, independent of the implementation under test.
func fmix64(k uint64) uint64 {
	for _, m := range []uint64{0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53, 1} {
		k = (k ^ k>>33) * m
	}
	return k
}

func TestMirrorsAndFaultsAreDrawnApart(t *testing.T) {
	p := policytest.Compiled(t, policytest.Service(`
routes: [ { to: { stable: 50, canary: 50 } } ]
mirror: { to: { service:shadow: 25, big: 75 }, percent: 20% }
fault: { abort: unavailable, percent: 10 }`))
	plans, random := p.Service("orders"), rand.New(rand.NewPCG(3, 4))
	const picks = 100_000
	got := map[string]int{}
	for range picks {
		r := policy.Request{Random: random.Uint64()}
		plan := plans.Route(&r)
		what := plan.Target
		if m := plan.Mirrored(&r); m != nil {
			what += " mirror:" + m.Target
			if m.Mirrored(&r) != nil || m.Faulted(&r) || m.Retry.Attempts != 1 || len(m.Levels) != 1 {
				t.Fatalf("the copy of a call is copied, broken, tried again or sent on: %+v", m)
			}
		}
		if plan.Faulted(&r) {
			what += " fault"
		}
		got[what]++
	}
	for _, target := range []string{"stable", "canary"} {
		for mirror, m := range map[string]float64{"": 0.8, " mirror:service:shadow": 0.05, " mirror:big": 0.15} {
			for fault, f := range map[string]float64{"": 0.9, " fault": 0.1} {
				want := picks * 0.5 * m * f
				if n := float64(got[target+mirror+fault]); n < want*0.8 || n > want*1.2 {
					t.Errorf("%q: %v of %d, want about %v", target+mirror+fault, n, picks, want)
				}
			}
		}
	}
}

func TestShareOfAllMeansEveryCall(t *testing.T) {
	p := policytest.Compiled(t, policytest.Service("mirror: { to: big, percent: 100 }\nfault: { delay: 1ms, percent: 100 }"))
	for _, random := range []uint64{0, 1, 1 << 63, ^uint64(0)} {
		r := policy.Request{Random: random}
		if plan := p.Service("orders").Route(&r); plan.Mirrored(&r) == nil || !plan.Faulted(&r) {
			t.Errorf("100%% left out %d", random)
		}
	}
}
