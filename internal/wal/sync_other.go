//go:build !linux

package wal

import "os"

// syncData makes a file durable. On darwin this includes the drive's own cache.
func syncData(f *os.File) error { return f.Sync() }

// freeOf returns false: the free space is unknown on this system.
func freeOf(string) (bytes int64, ok bool) { return 0, false }
