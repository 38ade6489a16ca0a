package balance

import "time"

const (
	// SilenceFloor is how long an instance must owe an answer to count as silent. It is
	// then passed over while there are others, even if those are in slow start or ejected.
	// An instance that is only slow loses little, because its next answer ends the silence.
	SilenceFloor = 50 * time.Millisecond

	// SilenceRatio is for how many times its average latency an instance must owe an
	// answer to count as silent.
	SilenceRatio = 8

	// SilenceKeyed replaces SilenceFloor for picks with a key, whose calls belong to one
	// instance.
	SilenceKeyed = time.Second

	// ProbeAfter is when the first probe of a silent instance is due. The next is due when
	// the instance has been silent for twice as long, or after ProbeMost.
	ProbeAfter = 250 * time.Millisecond

	// ProbeMost is the longest time between two probes of a silent instance.
	ProbeMost = 2 * time.Second

	// SilenceScar bounds the latency of an instance after a silence in which a call ended
	// without an answer, as a multiple of the answer that ends the silence. The instance
	// thus has its share back 2 s later, and one that answers only sometimes still gets
	// fewer calls.
	SilenceScar = 8

	// ProbesEjected is into how many parts probes divide an ejection: a probe is due after
	// a quarter of the first part, after half of it and at the end of each part. Thus an
	// instance that is ejected again, for longer, is probed less often.
	ProbesEjected = 8
)

// begin counts a call that is sent at now.
//
// An instance owes an answer from the first call on that began after its last answer.
// Calls that began before that and are still in flight are slow by themselves, because
// other calls were answered meanwhile. The time is exact to [Resolution], which avoids
// most writes to a busy instance's cache line.
func (l *load) begin(now int64) {
	n, owed := l.inflight.Add(1)-l.held.Load(), l.owed.Load()
	if owed == 0 || n == 1 && now-owed >= int64(Resolution) && l.failures.Load()&unheard == 0 {
		l.owed.Store(max(now, 1))
	}
}

// answered records an answer to a call that began at start. It reports whether the instance
// was unheard. If no other call is in flight, an answer owed for less than Resolution is not
// reset, because it has no effect then.
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

// readmits reports whether the instance is ejected, and a call that began at start began
// after the ejection, such as a probe.
func (l *load) readmits(start, now int64) bool {
	return l.special.Load() > now && l.ejected.Load() > now && start >= l.outcast.Load()
}

// heal limits what calls without an answer have added to the latency of an instance that
// has answered in elapsed nanoseconds.
func (l *load) heal(elapsed int64) {
	word := l.measured.Load()
	m := unpack(word)
	m.average = min(m.average, SilenceScar*max(float64(elapsed), float64(LatencyFloor)))
	// If another sample came meanwhile, it takes precedence.
	l.measured.CompareAndSwap(word, m.pack())
}

// unanswered records that a call ended without an answer. It has no effect if a call that
// began later was answered.
func (l *load) unanswered() {
	if l.owed.Load() != 0 && l.failures.Load()&unheard == 0 {
		l.failures.Or(unheard)
	}
}

// silence returns how long the instance has owed an answer, in nanoseconds, or 0 if it owes
// none.
func (l *load) silence(now int64) int64 {
	owed := l.owed.Load()
	if owed == 0 || l.calls() <= 0 && l.failures.Load()&unheard == 0 {
		return 0
	}
	return max(now-owed, 0)
}

// silent reports whether the instance has owed an answer for at least floor and for
// SilenceRatio times its latency. The latency does not matter once a call has ended without
// an answer, because that call is part of it.
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

// plain reports whether the instance is not barred, ejected, in slow start or silent.
func (l *load) plain(now int64) bool {
	return l.special.Load() <= now && !l.silent(now, SilenceFloor)
}

// heard records a new connection. It ends a silence, and a probe is due at once.
func (l *load) heard(now int64) {
	l.owed.Store(0)
	l.failures.And(^unheard)
	l.met.Store(now)
	l.probe.Store(now)
}

// pardons records a sign of life that was requested in place of a probe. It ends a silence, unless
// calls still wait: their answer, or their end, is better evidence. It reports whether it ends an
// ejection: one for lack of answers, if there has been a new connection since.
func (l *load) pardons(now int64) bool {
	if l.calls() <= 0 {
		l.owed.Store(0)
		l.failures.And(^unheard)
	}
	return l.ejected.Load() > now && l.mute.Load() && l.met.Load() >= l.outcast.Load()
}

// probes reports whether the call must probe a shunned instance, and sets when the next
// probe is due. A careful call does not probe; the instance is stored in t.due instead.
// Retries, which were sent elsewhere before, do not probe either, to spare them another
// failure.
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
