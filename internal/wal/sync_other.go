//go:build !linux

package wal

import "os"

// syncData makes a file durable; on darwin that includes the drive's own cache.
func syncData(f *os.File) error { return f.Sync() }

// freeOf says that it is not known how much room the disk of a folder has.
func freeOf(string) (bytes int64, ok bool) { return 0, false }
