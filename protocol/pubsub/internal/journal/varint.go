package journal

import "github.com/linkmesh/link/protocol/internal/varint"

const maxVarint = varint.Max

func varintLen(v uint64) int { return varint.Len(v) }

// appendVarint appends v in a form of n bytes. n must be at least what [varintLen] returns.
func appendVarint(b []byte, v uint64, n int) []byte { return varint.AppendAs(b, v, n) }

func appendUint(b []byte, v uint64) []byte { return varint.Append(b, v) }

func cutVarint(b []byte) (v uint64, rest []byte, ok bool) { return varint.Cut(b) }

func cutBytes(b []byte) (v, rest []byte, ok bool) { return varint.CutBytes(b) }
