package wal

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// Durable returns the position below which everything is on the disk.
func (l *Log) Durable() Position { return Position(l.durable.Load()) }

// Commit waits until everything below the position is on the disk. If the context ends, only the
// wait ends; the records stay in the log. Errors are those of the context and *FrozenError, and one
// for a position beyond the end of the log.
func (l *Log) Commit(ctx context.Context, pos Position) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.await(ctx.Done(), pos); err != nil {
		return err
	}
	if l.Durable() < pos {
		return context.Cause(ctx)
	}
	return nil
}

// RequestCommit requests a sync of everything below the position and does not wait for it.
// Options.OnDurable reports the result.
func (l *Log) RequestCommit(pos Position) {
	if l.Durable() < pos {
		l.urgent.Set()
	}
}

// await waits until pos is durable or the channel closes.
func (l *Log) await(done <-chan struct{}, pos Position) error {
	for l.Durable() < pos {
		l.mu.Lock()
		if l.Durable() >= pos {
			l.mu.Unlock()
			return nil
		}
		var err error
		switch {
		case l.frozen != nil:
			err = l.frozen
		case pos > l.end:
			err = fmt.Errorf("wal: commit of position %d: the log ends at %d", pos, l.end)
		}
		round := l.round.C()
		l.mu.Unlock()
		if err != nil {
			return err
		}
		l.urgent.Set()
		select {
		case <-round:
		case <-done:
			return nil
		}
	}
	return nil
}

// dirtyLocked requests a sync within Options.GroupCommit.
func (l *Log) dirtyLocked() {
	if l.waiting {
		return
	}
	l.waiting = true
	l.dirty.Set()
}

// commits is the committer, the goroutine that syncs.
func (l *Log) commits() {
	lazy := time.NewTimer(l.opts.GroupCommit)
	lazy.Stop()
	for {
		select {
		case <-l.urgent:
			// Let the goroutines that the last sync woke together share the next one.
			runtime.Gosched()
		case <-l.dirty:
			lazy.Reset(l.opts.GroupCommit)
			select {
			case <-lazy.C:
			case <-l.urgent:
			case <-l.finish:
			}
			lazy.Stop()
		case <-l.finish:
			l.commit()
			return
		}
		l.commit()
	}
}

// commit syncs what has been appended so far. Only the committer calls it, so that no two syncs of
// a file overlap: the kernel would report an error to one of them only.
func (l *Log) commit() {
	l.mu.Lock()
	l.dirty.Clear()
	l.waiting = false
	target, sealing, last := l.end, l.sealing, l.segments[len(l.segments)-1]
	idle, frozen := target == l.Durable(), l.frozen
	l.mu.Unlock()
	if frozen != nil {
		l.report(frozen)
		return
	}
	if idle {
		return
	}
	first := last
	if sealing != nil {
		first = sealing
	}
	op, s, err := "sync", first, first.file.Sync()
	if err == nil && sealing != nil {
		op, s, err = "publish", last, last.publish(l.files)
	}

	l.mu.Lock()
	if err != nil {
		_ = l.freezeLocked(op, l.path(s.name()), err)
	}
	// A write may have frozen the log during the sync, too; then the durable position stays.
	if frozen = l.frozen; frozen == nil {
		l.stats.syncs++
		l.durable.Store(uint64(target))
		if sealing != nil {
			sealing.close()
			l.sealing = nil
			l.published.Broadcast()
			// The sealed segment may be the oldest one.
			l.lookCrowdedLocked()
		}
	}
	l.round.All()
	l.mu.Unlock()
	l.report(frozen)
}

// report calls Options.OnDurable with the durable position. It reports a frozen log once, and
// nothing after that.
func (l *Log) report(frozen *FrozenError) {
	switch {
	case l.opts.OnDurable == nil || l.reported:
	case frozen == nil:
		l.opts.OnDurable(l.Durable(), nil)
	default:
		l.reported = true
		l.opts.OnDurable(l.Durable(), frozen)
	}
}

// freezeLocked freezes the log, unless it is frozen already, and returns the error that froze it.
func (l *Log) freezeLocked(op, file string, err error) error {
	if l.frozen == nil {
		l.frozen = &FrozenError{Op: op, File: file, Cause: err}
		l.published.Broadcast()
		l.round.All()
		// The committer reports the error.
		l.urgent.Set()
	}
	return l.frozen
}
