package integration

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/integration/internal/agent"
	"github.com/linkmesh/link/integration/internal/proxy"
)

// queries matches what a watch asks.
func queries() proxy.Match { return proxy.Path("/v1/health/service/") }

// spoiled reports whether a request met a fault.
func spoiled(f proxy.Fault) func(proxy.Request) bool {
	return func(r proxy.Request) bool { return r.Fault == f.String() }
}

// TestNoAnswerEmptiesTheSet spoils what a watch hears, in every way that happens.
func TestNoAnswerEmptiesTheSet(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	for _, tt := range []struct {
		fault   proxy.Fault
		healthy bool // what is heard is right all the same
	}{
		{fault: proxy.Status(http.StatusInternalServerError)},
		{fault: proxy.Status(http.StatusTooManyRequests)},
		{fault: proxy.Status(http.StatusForbidden)},
		{fault: proxy.Status(http.StatusNotFound)},
		{fault: proxy.HTML()},
		{fault: proxy.Truncate()},
		{fault: proxy.CutOff()},
		{fault: proxy.Drop()},
		{fault: proxy.FilteredByACLs()},
		{fault: proxy.IndexBackwards(), healthy: true},
		{fault: proxy.Index("index 0", func(uint64) uint64 { return 0 }), healthy: true},
	} {
		t.Run(tt.fault.String(), func(t *testing.T) {
			t.Parallel()
			m := newMesh(t)
			// Each case is a service of its own, as all share the agent.
			name := service + "-" + strings.ReplaceAll(tt.fault.String(), " ", "-")
			direct := m.registry(a.Address())
			one, two := instance(), instance()
			one.Service, two.Service = name, name
			register(t, direct, one)
			register(t, direct, two)

			p := proxy.Start(t, a.URL())
			w := follow(t, m.registry(p.Address()), name)
			w.untilIDs(one.ID, two.ID)
			mend := p.Break(queries(), tt.fault)
			p.Await("an answer that is wrong", spoiled(tt.fault))
			if !tt.healthy {
				last := w.until("a word that it is stale", func(s discovery.Snapshot) bool { return s.Stale })
				if last.Reason == "" || last.At.IsZero() {
					t.Errorf("snapshot %+v", last)
				}
				if n := m.log.lines("level=WARN", name); n != 1 {
					t.Errorf("%d lines in the log, want 1", n)
				}
			}
			// Once more: the answer to the wrong answer may be wrong as well.
			p.Forget()
			p.Await("another answer that is wrong", spoiled(tt.fault))
			mend()

			three := instance()
			three.Service = name
			register(t, direct, three)
			w.untilIDs(one.ID, two.ID, three.ID)
			w.neverBelow(2)
		})
	}
}

// TestAnIndexThatGoesBackwardsIsForgotten looks at what the watch asks next.
func TestAnIndexThatGoesBackwardsIsForgotten(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	p := proxy.Start(t, a.URL())
	m := newMesh(t)
	in := instance()
	register(t, m.registry(a.Address()), in)
	w := follow(t, m.registry(p.Address()), service)
	w.untilIDs(in.ID)
	p.Await("a blocking query", func(r proxy.Request) bool { return r.Status == http.StatusOK })
	fault := proxy.IndexBackwards()
	mend := p.Break(queries(), fault)
	p.Await("an index that is too low", spoiled(fault))
	mend()
	// The query may be answered before this looks.
	low := false
	p.Await("a query that begins anew", func(r proxy.Request) bool {
		anew := low && queriesService(r) && !r.Blocking()
		low = low || spoiled(fault)(r)
		return anew
	})
	w.neverBelow(1)
}

func queriesService(r proxy.Request) bool { return strings.HasPrefix(r.Path, "/v1/health/service/") }

// TestAQueryThatHangsIsGivenUp waits for the watch to lose patience with a query that the agent
// never answers, which takes a little more than the longest wait it asked for.
func TestAQueryThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	p := proxy.Start(t, a.URL())
	m := newMesh(t)
	s := m.serve(m.registry(a.Address()), link.Config{})
	r := m.registry(p.Address())
	client := m.client(r)
	untilAnswered(t, client, s)
	w := follow(t, r, service)
	w.untilIDs(s.Instance())

	tr := startTraffic(t, client, write)
	fault := proxy.Hang()
	mend := p.Break(queries(), fault)
	w.untilWithin(within, "a word that it is stale", func(s discovery.Snapshot) bool { return s.Stale })
	given := p.Await("the end of the query", func(r proxy.Request) bool { return r.Fault == fault.String() && r.Err != nil })
	if given.Status != 0 {
		t.Errorf("it was answered: %+v", given)
	}
	mend()
	next := m.serve(m.registry(a.Address()), link.Config{})
	w.untilIDs(s.Instance(), next.Instance())
	tr.stop()
	w.neverBelow(1)
}

// held is how long a node holds instances that vanish together while their connections answer.
const held = 30 * time.Second

// TestAnEmptyAnswerLeavesWhatAnswers lets the agent say, in good form, that there is nobody: the
// connections that stand know better.
func TestAnEmptyAnswerLeavesWhatAnswers(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	p := proxy.Start(t, a.URL())
	m := newMesh(t)
	one := m.serve(m.registry(a.Address()), link.Config{})
	two := m.serve(m.registry(a.Address()), link.Config{})
	r := m.registry(p.Address())
	client := m.client(r)
	untilAnswered(t, client, one, two)
	tr := startTraffic(t, client, write)
	tr.through(100)
	mend := p.Break(queries(), proxy.Empty())
	begin := time.Now()
	follow(t, r, service).until("nobody", func(s discovery.Snapshot) bool { return len(s.Instances) == 0 })
	tr.through(200)
	if took := time.Since(begin); took > held {
		t.Fatalf("the answer was empty for %v, longer than instances are held without the registry", took)
	}
	mend()
	three := m.serve(m.registry(a.Address()), link.Config{}) // so that the agent has something to say
	follow(t, r, service).untilIDs(one.Instance(), two.Instance(), three.Instance())
	tr.through(100)
	tr.stop()
}

// TestAWatchThatBeginsBadlyRecovers never had a good answer.
func TestAWatchThatBeginsBadlyRecovers(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	p := proxy.Start(t, a.URL())
	m := newMesh(t)
	in := instance()
	register(t, m.registry(a.Address()), in)
	for _, fault := range []proxy.Fault{proxy.Status(http.StatusInternalServerError), proxy.HTML(), proxy.Drop()} {
		mend := p.Break(proxy.All(), fault)
		w := follow(t, m.registry(p.Address()), service)
		last := w.until("a first word", func(discovery.Snapshot) bool { return true })
		if !last.Stale || last.Reason == "" || len(last.Instances) != 0 || !last.At.IsZero() {
			t.Errorf("%v: snapshot %+v", fault, last)
		}
		mend()
		w.untilIDs(in.ID)
	}
}
