package wal

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// Durable returns the position below which everything is on the disk.
func (l *Log) Durable() Position { return Position(l.durable.Load()) }

// Commit waits until everything below the position is on the disk. A context that ends gives up the
// wait only; the records stay in the log. Errors are those of the context, *FrozenError and
// ErrClosed.
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

// RequestCommit asks that everything below the position be on the disk soon, and does not wait:
// Options.OnDurable reports it.
func (l *Log) RequestCommit(pos Position) {
	if l.Durable() < pos {
		l.hurry()
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
		if l.round == nil {
			l.round = make(chan struct{})
		}
		round := l.round
		l.mu.Unlock()
		if err != nil {
			return err
		}
		l.hurry()
		select {
		case <-round:
		case <-done:
			return nil
		}
	}
	return nil
}

// hurry asks for a sync now.
func (l *Log) hurry() {
	select {
	case l.urgent <- struct{}{}:
	default:
	}
}

// dirtyLocked asks for a sync within Options.GroupCommit.
func (l *Log) dirtyLocked() {
	if l.waiting {
		return
	}
	l.waiting = true
	l.dirty <- struct{}{} // has room: the committer empties it before it resets waiting
}

// wakeLocked wakes everybody who waits in await, to look again.
func (l *Log) wakeLocked() {
	if l.round != nil {
		close(l.round)
		l.round = nil
	}
}

// commits is the goroutine that syncs.
func (l *Log) commits() {
	lazy := time.NewTimer(l.opts.GroupCommit)
	lazy.Stop()
	for {
		select {
		case <-l.urgent:
			runtime.Gosched() // those who were woken together by the last sync share the next one
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

// commit syncs what has been appended so far. Only the goroutine that syncs calls it, so no two
// syncs of a file overlap: the kernel reports an error to one of them only.
func (l *Log) commit() {
	l.mu.Lock()
	select {
	case <-l.dirty:
	default:
	}
	l.waiting = false
	target, sealing, last := l.end, l.sealing, l.segments[len(l.segments)-1]
	idle, frozen := target == l.Durable(), l.frozen
	l.mu.Unlock()
	if frozen != nil { // by a write
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
	if frozen = l.frozen; frozen == nil { // else by a write meanwhile, perhaps: the watermark stays
		l.stats.syncs++
		l.durable.Store(uint64(target))
		if sealing != nil {
			sealing.close()
			l.sealing = nil
			l.published.Broadcast()
			l.lookCrowdedLocked() // it may be the oldest
		}
	}
	l.wakeLocked()
	l.mu.Unlock()
	l.report(frozen)
}

// report tells the user how far the log is durable, and that it is frozen once.
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

// freezeLocked freezes the log, if nothing has before, and returns the error that did.
func (l *Log) freezeLocked(op, file string, err error) error {
	if l.frozen == nil {
		l.frozen = &FrozenError{Op: op, File: file, Cause: err}
		l.published.Broadcast()
		l.wakeLocked()
		l.hurry() // so that it is reported
	}
	return l.frozen
}
