package wire_test

import (
	"runtime"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

func callHeaders() *wire.Headers {
	return &wire.Headers{
		RouteID: 7, Timeout: 1_500_000,
		Trace:       []wire.Pair{{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
		Idempotency: []byte("order-1"),
		Metadata:    []wire.Pair{{"tenant", "t-1"}, {"experiment", "blue"}},
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	h := callHeaders()
	_, headers := splitFrame(t, wire.AppendHeaders(nil, h))
	buf := make([]byte, 0, 1024)
	pairs := make([]wire.Pair, 0, 8)
	view := view(t, h.Metadata)
	var err error
	for name, tc := range map[string]struct {
		most float64
		run  func()
	}{
		"AppendHeaders":              {0, func() { buf = wire.AppendHeaders(buf[:0], h) }},
		"ParseHeaders":               {0, func() { _, err = wire.ParseHeaders(headers) }},
		"AppendStatus of a plain OK": {0, func() { buf = wire.AppendStatus(buf[:0], &wire.Status{}, 0) }},
		"ParseStatus of a plain OK":  {0, func() { _, err = wire.ParseStatus(nil) }},
		"AppendCredit":               {0, func() { buf = wire.AppendCredit(buf[:0], wire.Credit{Messages: 1, Bytes: 1 << 20}) }},
		"ParseCredit":                {0, func() { _, err = wire.ParseCredit([]byte{1, 2}) }},
		"frame header": {0, func() {
			buf = wire.AppendFrameHeader(buf[:0], wire.FrameHeader{Kind: wire.KindData, Length: 1 << 20})
			_, _, err = wire.ParseFrameHeader(buf)
		}},
		"PairsView.All": {0, func() {
			for key, value := range view.All() {
				buf = append(append(buf[:0], key...), value...)
			}
		}},
		"PairsView.AppendTo nil":      {2, func() { _ = view.AppendTo(nil) }},
		"PairsView.AppendTo a buffer": {1, func() { pairs = view.AppendTo(pairs[:0]) }},
	} {
		if got := testing.AllocsPerRun(100, tc.run); got > tc.most {
			t.Errorf("%s allocates %v times, want at most %v", name, got, tc.most)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClaimsCostNoMemory checks that a length that a body claims takes no memory
// until its bytes are there.
func TestClaimsCostNoMemory(t *testing.T) {
	for name, tc := range map[string]struct {
		kind wire.Kind
		body string
	}{
		"routes":      {wire.KindRoutes, "a1 02 990400"},
		"many routes": {wire.KindRoutes, "a1 02 9bffffffffffffffff"},
		"reason":      {wire.KindGoAway, "a1 03 791000"},
		"message":     {wire.KindStatus, "a1 02 7bffffffffffffffff"},
		"details":     {wire.KindStatus, "a1 03 90"},
		"detail":      {wire.KindStatus, "a1 03 81 82 60 5a00004000"},
		"metadata":    {wire.KindStatus, "a1 05 b840"},
		"tags":        {wire.KindSetup, "a1 04 9840"},
		"codecs":      {wire.KindSetup, "a1 07 90"},
		"unknown":     {wire.KindHeaders, "a1 18 63 9bffffffffffffffff"},
	} {
		c, body := codecOf(tc.kind), unhex(t, tc.body)
		if got := allocated(t, func() error { _, err := c.parse(body); return err }); got > 2048 {
			t.Errorf("%s: refusing %d bytes allocates %d bytes", name, len(body), got)
		}
	}
}

// allocated returns how many bytes a call of refuse allocates. refuse must return
// an error.
func allocated(tb testing.TB, refuse func() error) uint64 {
	tb.Helper()
	const runs = 10
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		if refuse() == nil {
			tb.Error("accepted")
		}
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / runs
}
