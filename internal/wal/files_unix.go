//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package wal

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// lockDir takes the folder for this Log alone. The lock goes with the process.
func lockDir(d folder) (unlock func() error, err error) {
	f, err := d.OpenOrCreate(lockName)
	if err != nil {
		return nil, unsafe(err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s is open in another log or process; close that one or choose another folder", ErrLocked, d.Path(""))
		}
		return nil, fmt.Errorf("lock %s: %w", d.Path(lockName), err)
	}
	return f.Close, nil
}

// noRoom says whether a write failed for want of space, which may come back.
func noRoom(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// tooLong says whether a write failed because a file may not be longer.
func tooLong(err error) bool { return errors.Is(err, unix.EFBIG) }
