package balance

import "time"

const (
	// SilenceFloor is how long an instance must owe an answer to count as silent. It is
	// then passed over while there are others, those that start slowly or are ejected not
	// excepted. That costs an instance little which is merely slow: with its next answer
	// it is like the others.
	SilenceFloor = 50 * time.Millisecond

	// SilenceRatio is how many times its average latency it must owe an answer for.
	SilenceRatio = 8

	// SilenceKeyed is SilenceFloor of picks with a key, whose calls are at home at an
	// instance.
	SilenceKeyed = time.Second

	// ProbeAfter is when the first probe of a silent instance is due. The next is due when
	// it has been silent for twice as long, or after ProbeMost.
	ProbeAfter = 250 * time.Millisecond

	// ProbeMost is the longest time between two probes of a silent instance.
	ProbeMost = 2 * time.Second

	// SilenceScar is how many times as slow as the answer that ends its silence an
	// instance counts at most, if a call has waited in vain: so it has its share back
	// 2 s later, and one that now answers and now does not is still called less.
	SilenceScar = 8

	// ProbesEjected is into how many parts probes divide an ejection: one is due after a
	// quarter of the first part, after a half of it and at the end of each. An instance
	// that is ejected again, for longer, is so probed less often.
	ProbesEjected = 8
)

// begin counts a call that is sent at now.
//
// An instance owes an answer from the first call on that began after its last one.
// Calls that began before that and are still under way are slow by themselves: others
// were answered meanwhile. It is kept to [Resolution], which spares a busy instance's
// cache line most of the writes.
func (l *load) begin(now int64) {
	n, owed := l.inflight.Add(1)-l.held.Load(), l.owed.Load()
	if owed == 0 || n == 1 && now-owed >= int64(Resolution) && l.failures.Load()&unheard == 0 {
		l.owed.Store(max(now, 1))
	}
}

// answered notes that an answer came to a call that began at start. It reports whether one
// was overdue. What is owed for less than Resolution stays noted when no other call is under
// way: then it says nothing.
func (l *load) answered(start, now int64) (overdue bool) {
	if owed := l.owed.Load(); owed != 0 && (now-owed >= int64(Resolution) || start >= owed && l.calls() > 0) {
		l.owed.Store(0)
	}
	if l.failures.Load()&unheard == 0 {
		return false
	}
	l.failures.And(^unheard)
	return true
}

// readmits reports whether the instance is out, and a call that began at start was a
// probe, or another one that began after it was ejected.
func (l *load) readmits(start, now int64) bool {
	return l.special.Load() > now && l.ejected.Load() > now && start >= l.outcast.Load()
}

// heal takes back what calls that waited in vain have added to the latency of an
// instance that has answered in elapsed.
func (l *load) heal(elapsed int64) {
	word := l.measured.Load()
	m := unpack(word)
	m.average = min(m.average, SilenceScar*max(float64(elapsed), float64(LatencyFloor)))
	l.measured.CompareAndSwap(word, m.pack()) // or another sample has its say
}

// unanswered notes that a call ended without an answer. Nothing follows from it if one
// that began later was answered.
func (l *load) unanswered() {
	if l.owed.Load() != 0 && l.failures.Load()&unheard == 0 {
		l.failures.Or(unheard)
	}
}

// silence is how long the instance has owed an answer, in nanoseconds; 0 if it owes none.
func (l *load) silence(now int64) int64 {
	owed := l.owed.Load()
	if owed == 0 || l.calls() <= 0 && l.failures.Load()&unheard == 0 {
		return 0
	}
	return max(now-owed, 0)
}

// silent reports whether the instance has owed an answer for longer than it may: floor,
// and SilenceRatio times its latency unless a call has waited in vain already, which is
// counted in that.
func (l *load) silent(now int64, floor time.Duration) bool {
	owed := l.owed.Load()
	if owed == 0 || now-owed < int64(floor) {
		return false
	}
	if l.failures.Load()&unheard != 0 {
		return true
	}
	return float64(l.silence(now)) >= max(float64(floor), SilenceRatio*l.average()*fadedBy(now-l.sampled.Load()))
}

// plain reports whether nothing is to be said of the instance.
func (l *load) plain(now int64) bool {
	return l.special.Load() <= now && !l.silent(now, SilenceFloor)
}

// heard notes a sign of life that is not an answer to a call: a new connection. A probe is due.
func (l *load) heard(now int64) {
	l.owed.Store(0)
	l.failures.And(^unheard)
	l.met.Store(now)
	l.probe.Store(now)
}

// pardons notes a sign of life that was asked for in place of a probe. It ends a silence, unless
// calls still wait: their answer, or their end, says more. It reports whether it ends an ejection: one
// for want of answers, if there was a new connection since.
func (l *load) pardons(now int64) bool {
	if l.calls() <= 0 {
		l.owed.Store(0)
		l.failures.And(^unheard)
	}
	return l.ejected.Load() > now && l.mute.Load() && l.met.Load() >= l.outcast.Load()
}

// probes reports whether a shunned instance is to be probed, and lets nobody else do it
// for a while. Calls that were sent elsewhere before do not probe: they have had their
// share of trouble.
func (t *terms) probes(l *load) bool {
	due := l.probe.Load()
	if len(t.avoided) > 0 || t.now < due {
		return false
	}
	out, most := l.silence(t.now), int64(ProbeMost)
	if ejected := l.ejected.Load(); l.special.Load() > t.now && ejected > t.now {
		out, most = t.now-l.outcast.Load(), (ejected-l.outcast.Load())/ProbesEjected
	} else if out < int64(ProbeAfter) {
		return false
	}
	if !l.probe.CompareAndSwap(due, t.now+min(max(out, int64(ProbeAfter)), most)) {
		return false
	}
	if t.careful {
		t.due = l
		return false
	}
	return true
}
