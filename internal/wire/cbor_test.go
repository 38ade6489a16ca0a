package wire_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/linkmesh/link/internal/wire"
)

// cborHeaders is the HEADERS body for a CBOR library that knows nothing of link.
type cborHeaders struct {
	Route       any               `cbor:"1,keyasint"`
	Timeout     uint64            `cbor:"2,keyasint"`
	Trace       map[string]string `cbor:"3,keyasint,omitempty"`
	Codec       uint64            `cbor:"4,keyasint,omitempty"`
	Idempotency []byte            `cbor:"6,keyasint,omitempty"`
	Attempt     uint64            `cbor:"7,keyasint,omitempty"`
	RouteKind   uint64            `cbor:"9,keyasint,omitempty"`
	Metadata    map[string]string `cbor:"10,keyasint,omitempty"`
	Credit      []uint64          `cbor:"11,keyasint,omitempty"`
}

func toCBOR(h *wire.Headers) *cborHeaders {
	c := &cborHeaders{
		Route: h.RouteID, Timeout: h.Timeout, Trace: toMap(h.Trace), Codec: h.Codec, Idempotency: h.Idempotency,
		Attempt: h.Attempt, Metadata: toMap(h.Metadata),
	}
	if h.Route != "" {
		c.Route, c.RouteKind = h.Route, h.RouteKind
	}
	if h.Credit != (wire.Credit{}) {
		c.Credit = []uint64{h.Credit.Messages, h.Credit.Bytes}
	}
	return c
}

func toMap(pairs []wire.Pair) map[string]string {
	m := make(map[string]string)
	for _, p := range pairs {
		m[p.Key] = p.Value
	}
	return m
}

// strictCBOR returns a mode that refuses what link/1 refuses, as far as the library
// can.
func strictCBOR(tb testing.TB) cbor.DecMode {
	tb.Helper()
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		tb.Fatal(err)
	}
	return mode
}

func coreDeterministicCBOR(tb testing.TB) cbor.EncMode {
	tb.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		tb.Fatal(err)
	}
	return mode
}

// canonical reports whether body is what the writer would write: it has all
// required keys, no unknown keys, and no optional keys with a default.
func canonical(tb testing.TB, c *bodyCodec, body []byte) bool {
	tb.Helper()
	if len(body) == 0 {
		// The body is a plain OK.
		return true
	}
	var fields map[uint64]cbor.RawMessage
	if err := strictCBOR(tb).Unmarshal(body, &fields); err != nil {
		tb.Fatalf("%v: %x is accepted, but a CBOR library says: %v", c, body, err)
	}
	for key, value := range fields {
		if slices.Contains(c.required, key) {
			continue
		}
		// The defaults are 0, "", h'', [], {}, false and [0, 0].
		switch string(value) {
		case "\x00", "\x60", "\x40", "\x80", "\xa0", "\xf4", "\x82\x00\x00":
			return false
		}
		if !slices.Contains(c.optional, key) {
			return false
		}
	}
	for _, key := range c.required {
		if _, ok := fields[key]; !ok {
			return false
		}
	}
	return len(fields) > 0
}

// checkAccepted checks that a HEADERS body that the parser accepts means the same
// to a CBOR library.
func checkAccepted(tb testing.TB, body []byte) {
	tb.Helper()
	view, err := wire.ParseHeaders(body)
	if err != nil {
		return
	}
	want := toCBOR(copyHeaders(&view))
	var got cborHeaders
	if err := strictCBOR(tb).Unmarshal(body, &got); err != nil {
		tb.Fatalf("%x is accepted, but a CBOR library says: %v", body, err)
	}
	if slices.Equal(got.Credit, []uint64{0, 0}) {
		got.Credit = nil
	}
	if d := diff(want, &got); d != "" {
		tb.Fatalf("a CBOR library reads %x differently (-link +cbor):\n%s", body, d)
	}
}

// checkWritten checks that AppendHeaders writes what a CBOR library writes in core
// deterministic mode (RFC 8949, section 4.2.1), and that it parses.
func checkWritten(tb testing.TB, h *wire.Headers) {
	tb.Helper()
	_, body := splitFrame(tb, wire.AppendHeaders(nil, h))
	want, err := coreDeterministicCBOR(tb).Marshal(toCBOR(h))
	if err != nil {
		tb.Fatal(err)
	}
	if !bytes.Equal(body, want) {
		tb.Fatalf("headers %+v\nare written as %x\ndeterministic   %x", h, body, want)
	}
	if _, err := wire.ParseHeaders(body); err != nil {
		tb.Fatalf("headers %+v are written as %x, which is refused: %v", h, body, err)
	}
	checkAccepted(tb, body)
}

func TestHeadersAreCBOR(t *testing.T) {
	checkWritten(t, &wire.Headers{})
	checkWritten(t, callHeaders())
	checkWritten(t, &wire.Headers{
		Route: strings.Repeat("r", 24), Timeout: 1 << 32, Codec: 1 << 16, Attempt: 1 << 8, RouteKind: 24,
		Idempotency: bytes.Repeat([]byte{0xff}, 24), Credit: wire.Credit{Messages: 1},
		Metadata: []wire.Pair{{"z", ""}, {"é", ""}, {strings.Repeat("a", 23), "1"}, {strings.Repeat("a", 24), "2"}},
	})
}

func FuzzHeadersAgainstCBOR(f *testing.F) {
	for _, frame := range goldenFrames(f) {
		if frame.header.Kind == wire.KindHeaders {
			f.Add(frame.body, "orders/get", uint64(7), uint64(1_500_000), uint64(1), uint64(2), uint64(3), []byte("key"), "a", "1", "bb", "2", uint64(16), uint64(4096))
		}
	}
	f.Add(unhex(f, "a4 01 00 02 00 03 a2 61 61 60 61 62 60 18 63 82 a1 00 f6 fb 0000000000000000"), "", uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), []byte{}, "", "", "", "", uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, body []byte, route string, id, timeout, codec, attempt, kind uint64, idempotency []byte, key1, value1, key2, value2 string, messages, size uint64) {
		checkAccepted(t, body)

		h := &wire.Headers{
			Route: text(route, wire.MaxName), RouteID: id, Timeout: timeout, Codec: codec, Attempt: attempt, RouteKind: kind,
			Idempotency: idempotency[:min(len(idempotency), wire.MaxKeyBytes)],
			Credit:      wire.Credit{Messages: messages & wire.MaxVarint, Bytes: size & wire.MaxVarint},
		}
		for _, p := range []wire.Pair{{key1, value1}, {key2, value2}} {
			h.Metadata = append(h.Metadata, wire.Pair{Key: text(p.Key, 1024), Value: text(p.Value, 1024)})
		}
		slices.SortFunc(h.Metadata, wire.ComparePairs)
		h.Metadata = slices.CompactFunc(h.Metadata, func(a, b wire.Pair) bool { return a.Key == b.Key })
		h.Trace = h.Metadata[:codec%2]
		if err := wire.CheckPairs("metadata", h.Metadata, wire.MaxPairs, wire.MaxPairBytes); err != nil {
			t.Fatal(err)
		}
		checkWritten(t, h)
	})
}

// text returns valid UTF-8 of at most limit bytes, made from s.
func text(s string, limit int) string {
	s = strings.ToValidUTF8(s, "")
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}
