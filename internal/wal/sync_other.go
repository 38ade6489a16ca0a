//go:build !linux

package wal

import "os"

// syncData makes a file durable; on darwin that includes the drive's own cache.
func syncData(f *os.File) error { return f.Sync() }
