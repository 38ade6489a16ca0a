//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package wal

// lockDir always fails: without a lock, two processes could write to the folder and destroy it.
func lockDir(folder) (unlock func() error, err error) { return nil, ErrUnsupported }

func noRoom(error) bool { return false }

func tooLong(error) bool { return false }
