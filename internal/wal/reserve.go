package wal

import "time"

// reserveName is the file that reserves room on the disk for AppendReserved.
const reserveName = "reserve"

// The first and the longest pause between two attempts to create the reserve again. The pause
// doubles each time that there was no room.
const (
	refillEvery = time.Second
	refillMost  = time.Minute
)

// findReserve looks for the reserve that an earlier run left, and creates it if there is none.
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

// useReserveLocked removes the reserve, which frees its space on the disk, and reports whether it
// did.
func (l *Log) useReserveLocked() bool {
	if !l.reserved {
		return false
	}
	l.reserved = false
	return l.files.remove(reserveName) == nil
}

// lookReserveLocked requests that the reserve be created if there is none and the pause is over.
func (l *Log) lookReserveLocked() {
	if l.opts.Reserve == 0 || l.reserved || time.Since(l.refilled) < l.refillPause {
		return
	}
	l.refilled = time.Now()
	l.refill.Set()
}

// makeReserve writes the reserve if the disk has room for twice its size, half of it for other users
// of the disk, and for compaction. Only Open and the goroutine that compacts call it.
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

// reserveFits reports whether the disk has room for the reserve. Just trying could fill the disk for
// a moment, in which writes of other processes fail. Where the free space is unknown, it returns true,
// because only an attempt can tell.
func (l *Log) reserveFits() bool {
	free, ok := l.files.free()
	l.mu.Lock()
	defer l.mu.Unlock()
	return !ok || free-l.neededLocked() >= 2*l.opts.Reserve
}

// writeReserve writes the file of the reserve and reports whether there was room.
func (l *Log) writeReserve() bool {
	f, err := l.files.create(reserveName)
	if err != nil {
		return false
	}
	zeros := make([]byte, 64<<10)
	for at := int64(0); at < l.opts.Reserve && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), l.opts.Reserve-at)], at)
	}
	// Without a sync, a file system with delayed allocation reserves nothing.
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = l.files.remove(reserveName)
	}
	return err == nil
}
