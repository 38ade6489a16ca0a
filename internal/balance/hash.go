package balance

import "github.com/linkmesh/link/internal/hash"

// hashOf returns the hash of a key. It must never change, because processes must agree
// on the place of a key.
func hashOf(key string) uint64 { return hash.SplitMix(hash.FNV1a(key)) }
