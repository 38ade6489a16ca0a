package wire_test

import (
	"bytes"
	"math"
	"runtime/metrics"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

// fuzzBodies adds the golden bodies of c and fuzzes it with three oracles: no
// panic, the round trip of checkRoundTrip, and memory in proportion to the
// input.
func fuzzBodies(f *testing.F, c *bodyCodec) {
	f.Helper()
	for _, frame := range goldenFrames(f) {
		if frame.header.Kind == c.kind {
			f.Add(frame.body)
		}
	}
	body := unhex(f, c.full)
	f.Add(body)
	f.Add(withUnknown(body, unhex(f, "82 a2 00 f6 61 61 20 fb 0000000000000000")))
	f.Fuzz(func(t *testing.T, body []byte) {
		checkMemory(t, len(body), func() { _, _ = c.parse(body) })
		checkRoundTrip(t, c, body)
	})
}

// checkMemory reports an error if parse allocates out of proportion to its input of
// n bytes. The runtime counts small objects in bulk, whenever it flushes a cache,
// so parse is run several times, and the least count is used.
func checkMemory(t *testing.T, n int, parse func()) {
	t.Helper()
	const free, perByte, tries = 64 << 10, 64, 10
	most := uint64(free + perByte*n)
	least := uint64(math.MaxUint64)
	for range tries {
		before := allocatedBytes()
		parse()
		if least = min(least, allocatedBytes()-before); least <= most {
			return
		}
	}
	t.Errorf("parsing %d bytes allocates %d bytes, want at most %d", n, least, most)
}

func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func FuzzHeaders(f *testing.F) { fuzzBodies(f, headersCodec()) }

func FuzzStatus(f *testing.F) { fuzzBodies(f, statusCodec()) }

func FuzzSetup(f *testing.F) { fuzzBodies(f, setupCodec()) }

func FuzzRoutes(f *testing.F) { fuzzBodies(f, routesCodec()) }

func FuzzGoAway(f *testing.F) { fuzzBodies(f, goAwayCodec()) }

func FuzzTags(f *testing.F) { fuzzBodies(f, tagsCodec()) }

func FuzzHealth(f *testing.F) { fuzzBodies(f, healthCodec()) }

func FuzzVarint(f *testing.F) {
	for _, s := range []string{"", "25", "4025", "7bbd", "9d7f3e7d", "c2197c5eff14e88c", "ffffffffffffffff", "40", "c0000000"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, n, err := wire.ParseVarint(b)
		if err != nil {
			return
		}
		again := wire.AppendVarint(nil, v)
		if len(again) > n {
			t.Fatalf("%x is longer than %x", again, b[:n])
		}
		if len(again) == n && !bytes.Equal(again, b[:n]) {
			t.Fatalf("%x written again is %x", b[:n], again)
		}
		if w, m, err := wire.ParseVarint(again); w != v || m != len(again) || err != nil {
			t.Fatalf("%d written as %x reads %d, %d, %v", v, again, w, m, err)
		}
	})
}

func FuzzFrameHeader(f *testing.F) {
	for _, frame := range goldenFrames(f) {
		f.Add(frame.raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := wire.ParseFrameHeader(b)
		if err != nil {
			return
		}
		again := wire.AppendFrameHeader(nil, h)
		if len(again) > n {
			t.Fatalf("%x is longer than %x", again, b[:n])
		}
		if len(again) == n && !bytes.Equal(again, b[:n]) {
			t.Fatalf("%x written again is %x", b[:n], again)
		}
		if g, m, err := wire.ParseFrameHeader(again); g != h || m != len(again) || err != nil {
			t.Fatalf("%+v written as %x reads %+v, %d, %v", h, again, g, m, err)
		}
	})
}

func FuzzCredit(f *testing.F) {
	for _, frame := range goldenFrames(f) {
		if frame.header.Kind == wire.KindCredit {
			f.Add(frame.body)
		}
	}
	f.Add(unhex(f, "4001 80000002"))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := wire.ParseCredit(body)
		if err != nil {
			return
		}
		_, again := splitFrame(t, wire.AppendCredit(nil, c))
		if len(again) > len(body) || len(again) == len(body) && !bytes.Equal(again, body) {
			t.Fatalf("%x written again is %x", body, again)
		}
		if got, err := wire.ParseCredit(again); got != c || err != nil {
			t.Fatalf("%+v written as %x reads %+v, %v", c, again, got, err)
		}
	})
}

func FuzzPing(f *testing.F) {
	for _, frame := range goldenFrames(f) {
		if frame.header.Kind == wire.KindPing {
			f.Add(frame.body)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		token, err := wire.ParsePing(body)
		if err != nil {
			return
		}
		_, again := splitFrame(t, wire.AppendPing(nil, wire.KindPong, token))
		if got, err := wire.ParsePing(again); got != token || err != nil {
			t.Fatalf("%d written as %x reads %d, %v", token, again, got, err)
		}
	})
}
