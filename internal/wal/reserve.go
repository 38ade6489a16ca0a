package wal

import "time"

// reserveName is the file that keeps room on the disk for AppendReserved.
const reserveName = "reserve"

// refillEvery is how often it is tried at the most to have the reserve again.
const refillEvery = time.Second

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
	if l.opts.Reserve == 0 || l.reserved || time.Since(l.refilled) < refillEvery {
		return
	}
	l.refilled = time.Now()
	select {
	case l.refill <- struct{}{}:
	default:
	}
}

// makeReserve writes the reserve, if there is room for it and for as much again: the
// last of the disk is not for it. Only Open and the goroutine that compacts call it.
func (l *Log) makeReserve() {
	if l.opts.Reserve == 0 {
		return
	}
	f, err := l.files.create(reserveName)
	if err != nil {
		return
	}
	zeros := make([]byte, 64<<10)
	for at := int64(0); at < 2*l.opts.Reserve && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros, at)
	}
	if err == nil {
		err = f.Truncate(l.opts.Reserve)
	}
	if err == nil {
		err = f.Sync() // else a file system that allocates late keeps nothing
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = l.files.remove(reserveName)
		return
	}
	l.mu.Lock()
	l.reserved = true
	l.mu.Unlock()
}
