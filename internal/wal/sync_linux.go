package wal

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes the data and the size of a file durable, but not its timestamps.
func syncData(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var syncErr error
	err = conn.Control(func(fd uintptr) {
		for {
			// EINTR means that a signal came before anything failed, so this does not retry a failed sync.
			if syncErr = unix.Fdatasync(int(fd)); !errors.Is(syncErr, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if syncErr != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: syncErr}
	}
	return nil
}

// freeOf returns how much room the disk of a folder has for this user.
func freeOf(dir string) (bytes int64, ok bool) {
	var st unix.Statfs_t
	// The bound avoids an overflow below: 1<<24 is more than the size of any block.
	if err := unix.Statfs(dir, &st); err != nil || st.Bavail > math.MaxInt64>>24 {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Frsize), true //nolint:unconvert // it is 32 bits long on some
}
