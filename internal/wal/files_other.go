//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package wal

// lockDir fails: a folder that two processes write to is lost.
func lockDir(folder) (unlock func() error, err error) { return nil, ErrUnsupported }

func noRoom(error) bool { return false }

func tooLong(error) bool { return false }
