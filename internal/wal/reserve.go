package wal

import "time"

// reserveName is the file that keeps room on the disk for AppendReserved.
const reserveName = "reserve"

// How often it is tried at the most to have the reserve again: at first, and, with a pause that
// doubles each time that there was no room, later.
const (
	refillEvery = time.Second
	refillMost  = time.Minute
)

// findReserve looks for the reserve that an earlier run left, and makes it if there is none.
func (l *Log) findReserve() {
	if f, err := l.files.open(reserveName); err == nil {
		size, err := f.Size()
		_ = f.Close()
		l.reserved = err == nil && size >= l.opts.Reserve && l.opts.Reserve > 0
	}
	if !l.reserved {
		l.makeReserve()
	}
}

// useReserveLocked gives the room of the reserve back to the disk. It reports whether
// there was any.
func (l *Log) useReserveLocked() bool {
	if !l.reserved {
		return false
	}
	l.reserved = false
	return l.files.remove(reserveName) == nil
}

// lookReserveLocked asks for the reserve if there is none.
func (l *Log) lookReserveLocked() {
	if l.opts.Reserve == 0 || l.reserved || time.Since(l.refilled) < l.refillPause {
		return
	}
	l.refilled = time.Now()
	select {
	case l.refill <- struct{}{}:
	default:
	}
}

// makeReserve writes the reserve if there is room for it, for as much again, which others on the
// disk may need, and for compaction. Only Open and the goroutine that compacts call it.
func (l *Log) makeReserve() {
	if l.opts.Reserve == 0 {
		return
	}
	made := l.reserveFits() && l.writeReserve()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reserved = made; made {
		l.refillPause = refillEvery
	} else {
		l.refillPause = min(max(2*l.refillPause, refillEvery), refillMost)
	}
}

// reserveFits asks the disk first: to try and see would fill it to the last byte for a moment, at
// which the writes of others fail. Where nobody knows how much is left, only a try can tell.
func (l *Log) reserveFits() bool {
	free, ok := l.files.free()
	l.mu.Lock()
	defer l.mu.Unlock()
	return !ok || free-l.neededLocked() >= 2*l.opts.Reserve
}

// writeReserve reports whether there was room.
func (l *Log) writeReserve() bool {
	f, err := l.files.create(reserveName)
	if err != nil {
		return false
	}
	zeros := make([]byte, 64<<10)
	for at := int64(0); at < l.opts.Reserve && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), l.opts.Reserve-at)], at)
	}
	if err == nil {
		err = f.Sync() // else a file system that allocates late keeps nothing
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = l.files.remove(reserveName)
	}
	return err == nil
}
