package consul

import (
	"testing"
	"time"
)

func TestIndexRules(t *testing.T) {
	for name, c := range map[string]struct {
		answers   []uint64
		next      uint64
		backwards bool
	}{
		"first":             {[]uint64{7}, 7, false},
		"higher":            {[]uint64{7, 9}, 9, false},
		"the same":          {[]uint64{7, 7}, 7, false},
		"lower":             {[]uint64{9, 7}, 0, true},
		"zero":              {[]uint64{0}, 1, false},
		"lower, and higher": {[]uint64{9, 7, 8}, 8, false},
		"back to zero":      {[]uint64{9, 0}, 0, true},
	} {
		var cur cursor
		backwards := false
		for _, index := range c.answers {
			backwards = cur.advance(index, "b")
		}
		if cur.index != c.next || backwards != c.backwards {
			t.Errorf("%s: next %d, backwards %t; want %d, %t", name, cur.index, backwards, c.next, c.backwards)
		}
	}
	var cur cursor
	cur.advance(9, backendStreaming)
	if cur.advance(7, "blocking-query") || cur.index != 0 {
		t.Error("indexes of two backends were compared as a sign of illness, or not for the next query")
	}
}

func TestPaceOfTheTokenBucket(t *testing.T) {
	var p pacer
	now := time.Unix(1_700_000_000, 0)
	// ask takes a token and waits for as long as the pacer says.
	ask := func(slowest time.Duration) time.Duration {
		wait := p.next(now, slowest)
		now = now.Add(wait)
		return wait
	}
	for i, want := range []time.Duration{0, 0, time.Second, time.Second} {
		if got := ask(paceSlow); got != want {
			t.Errorf("query %d waits %v, want %v", i+1, got, want)
		}
	}
	for start := now; now.Sub(start) < 2*time.Minute; {
		ask(paceSlow)
	}
	if got := ask(paceSlow); got != paceSlow {
		t.Errorf("after two minutes of churn a query waits %v, want %v", got, paceSlow)
	}
	if got := ask(emptyPace); got > 2*emptyPace {
		t.Errorf("a watch that knows nobody waits %v, want about %v", got, emptyPace)
	}
	now = now.Add(waitMost)
	for i, want := range []time.Duration{0, 0, time.Second} {
		if got := ask(paceSlow); got != want {
			t.Errorf("after calm, query %d waits %v, want %v", i+1, got, want)
		}
	}
}

func TestBackoffIsJitteredAndBounded(t *testing.T) {
	const least, most = 250 * time.Millisecond, 30 * time.Second
	for n := 1; n < 100; n++ {
		limit := min(most, least<<min(n-1, 10))
		lowest, highest := most, time.Duration(0)
		for range 200 {
			d := retryPause(n, least, most)
			lowest, highest = min(lowest, d), max(highest, d)
		}
		if lowest < least/5 || highest > limit || highest < limit/2 || lowest > limit/2 {
			t.Fatalf("after %d failures from %v to %v, want spread up to %v", n, lowest, highest, limit)
		}
	}
}

func TestPlacesInTheAgent(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	b := newBudget()
	held := 0
	for range maxBlocking + 10 {
		if b.hold(false, true, now) {
			held++
		}
	}
	if held != policyBlocking {
		t.Errorf("%d policies have a place, want %d", held, policyBlocking)
	}
	for b.hold(false, false, now) {
		held++
	}
	if held != maxBlocking {
		t.Errorf("%d places, want %d", held, maxBlocking)
	}
	b.overloaded(now)
	// A second later is still the same overload.
	b.overloaded(now.Add(time.Second))
	if p := b.pause(now); p < busyPause || p > 2*busyPause {
		t.Errorf("pause %v", p)
	}
	kept := 0
	for range maxBlocking - policyBlocking {
		if b.hold(true, false, now) {
			kept++
		}
	}
	if kept+policyBlocking != maxBlocking/2 {
		t.Errorf("%d places are kept after an overload, want %d", kept+policyBlocking, maxBlocking/2)
	}
	if b.hold(false, false, now.Add(budgetGrows-1)) || !b.hold(false, false, now.Add(budgetGrows)) {
		t.Error("the places do not come back one by one")
	}
}

func TestAnOverloadEndsTheQuestionsThatWait(t *testing.T) {
	b := newBudget()
	ctx, end := b.patience(t.Context())
	other, endOther := b.patience(t.Context())
	endOther()
	if ctx.Err() != nil || other.Err() == nil || len(b.waiting) != 1 {
		t.Errorf("before: %v and %v, %d wait", ctx.Err(), other.Err(), len(b.waiting))
	}
	b.overloaded(time.Now())
	if ctx.Err() == nil {
		t.Error("a question goes on waiting in an agent that is overloaded")
	}
	end()
	if len(b.waiting) != 0 {
		t.Errorf("%d questions are still remembered", len(b.waiting))
	}
}
