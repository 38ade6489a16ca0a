package balance

// failed counts a failure of l, and ejects it after enough failures in a row.
func (w *ward) failed(l *load, now int64, how Outcome) {
	errors := w.errors.Load()
	if errors == 0 || now < l.ejected.Load() {
		return
	}
	// Each further round of failures tries again: the first ejection may have failed
	// because enough others were ejected, or because the lock was held.
	if n := l.failures.Add(1) &^ (gone | unheard); n%errors == 0 {
		w.eject(l, now, how)
	}
}

// eject ejects l, if the limit allows it. It does not wait for the lock, because End must not
// wait. how is the outcome of the last of the failures.
func (w *ward) eject(l *load, now int64, how Outcome) {
	if !w.mu.TryLock() {
		return
	}
	defer w.mu.Unlock()
	if l.failures.Load()&gone != 0 || now < l.ejected.Load() {
		return
	}
	w.expireLocked(now)
	o := w.options.Outlier
	if w.ejected >= max(1, int(o.Max*float64(w.size))) {
		return
	}
	t := w.troubleLocked(l)
	healthy := int((now - l.ejected.Load()) / int64(o.Interval))
	t.ejections = max(t.ejections-healthy, 0) + 1
	lasts := min(int64(t.ejections)*int64(o.Eject), int64(MaxEject))
	l.outcast.Store(now)
	l.mute.Store(how == Unanswered)
	l.probe.Store(now + lasts/ProbesEjected/4)
	l.ejected.Store(now + lasts)
	l.reclassify()
	l.failures.And(gone)
	w.settleLocked(t, t.counted|isEjected)
}

// restore ends the ejection of l and reports whether it did. Like eject, it does not wait for
// the lock.
func (w *ward) restore(l *load, now int64) bool {
	if !w.mu.TryLock() {
		return false
	}
	defer w.mu.Unlock()
	t := w.troubles[l]
	if t == nil || t.counted&isEjected == 0 || l.ejected.Load() <= now {
		return false
	}
	l.ejected.Store(now)
	l.reclassify()
	w.settleLocked(t, t.counted&^isEjected)
	return true
}
