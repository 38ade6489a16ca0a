package wire_test

import (
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

func TestHeadersAreWrittenAsSpecified(t *testing.T) {
	for name, tc := range map[string]struct {
		h    wire.Headers
		body string
	}{
		"zero value":  {wire.Headers{}, "a2 01 00 02 00"},
		"by number":   {wire.Headers{RouteID: 300, Timeout: 1_000_000}, "a2 01 19 012c 02 1a 000f4240"},
		"by name":     {wire.Headers{Route: "get", RouteID: 7, Timeout: 1}, "a2 01 63 676574 02 01"},
		"route kind":  {wire.Headers{Route: "x", RouteKind: 2}, "a3 01 61 78 02 00 09 02"},
		"number only": {wire.Headers{RouteID: 1, RouteKind: 2}, "a2 01 01 02 00"},
		"trace":       {wire.Headers{Trace: []wire.Pair{{"k", "v"}}}, "a3 01 00 02 00 03 a1 61 6b 61 76"},
		"codec":       {wire.Headers{Codec: 24}, "a3 01 00 02 00 04 18 18"},
		"idempotency": {wire.Headers{Idempotency: []byte{1}}, "a3 01 00 02 00 06 41 01"},
		"attempt":     {wire.Headers{Attempt: 2}, "a3 01 00 02 00 07 02"},
		"metadata":    {wire.Headers{Metadata: []wire.Pair{{"b", ""}, {"aa", "é"}}}, "a3 01 00 02 00 0a a2 61 62 60 62 6161 62 c3a9"},
		"credit":      {wire.Headers{Credit: wire.Credit{Bytes: 1}}, "a3 01 00 02 00 0b 82 00 01"},
	} {
		t.Run(name, func(t *testing.T) {
			frame := wire.AppendHeaders([]byte("x"), &tc.h)
			h, body := splitFrame(t, frame[1:])
			if want := (wire.FrameHeader{Kind: wire.KindHeaders, Flags: wire.FlagCritical, Length: uint64(len(body))}); h != want {
				t.Errorf("header is %+v, want %+v", h, want)
			}
			if want := unhex(t, tc.body); string(body) != string(want) {
				t.Errorf("body is %x, want %x", body, want)
			}
			checkRoundTrip(t, headersCodec(), body)
		})
	}
}

func TestHeadersViewAliasesItsInput(t *testing.T) {
	body := unhex(t, headersCodec().full)
	view, err := wire.ParseHeaders(body)
	if err != nil {
		t.Fatal(err)
	}
	want := wire.HeadersView{
		Route: []byte("o/get"), Timeout: 1000, Codec: 2, Idempotency: []byte("k1"), Attempt: 1, RouteKind: 1,
		Credit: wire.Credit{Messages: 16, Bytes: 4096},
	}
	trace, metadata := view.Trace, view.Metadata
	view.Trace, view.Metadata = wire.PairsView{}, wire.PairsView{}
	if string(view.Route) != "o/get" || string(view.Idempotency) != "k1" ||
		view.Timeout != want.Timeout || view.Codec != want.Codec || view.Attempt != want.Attempt ||
		view.RouteKind != want.RouteKind || view.Credit != want.Credit {
		t.Errorf("view is %+v, want %+v", view, want)
	}
	if d := diff([]wire.Pair{{"t", "0"}}, trace.AppendTo(nil)); d != "" {
		t.Error(d)
	}
	if d := diff([]wire.Pair{{"a", "1"}, {"bb", ""}}, metadata.AppendTo(nil)); d != "" {
		t.Error(d)
	}
	body[3] = 'p'
	if string(view.Route) != "p/get" {
		t.Errorf("Route is %q after the input changed, want a view of it", view.Route)
	}
	if view.Route = append(view.Route, '!'); body[8] == '!' {
		t.Error("appending to a view overwrites the input behind it")
	}
}

func TestHeadersRefuseMalformedFields(t *testing.T) {
	for name, tc := range map[string]struct{ body, reason string }{
		"no keys":               {"a0", "route or timeout missing"},
		"no route":              {"a1 02 00", "route or timeout missing"},
		"no timeout":            {"a1 01 00", "route or timeout missing"},
		"route of bytes":        {"a2 01 41 61 02 00", "expected an unsigned integer"},
		"empty route":           {"a2 01 60 02 00", "empty route"},
		"route not UTF-8":       {"a2 01 61 ff 02 00", "UTF-8"},
		"kind beside a number":  {"a3 01 00 02 00 09 01", "kind"},
		"negative timeout":      {"a2 01 00 02 20", "expected an unsigned integer"},
		"timeout as a float":    {"a2 01 00 02 f9 0000", "expected an unsigned integer"},
		"timeout is null":       {"a2 01 00 02 f6", "expected an unsigned integer"},
		"trace as an array":     {"a3 01 00 02 00 03 80", "expected a map"},
		"trace key as bytes":    {"a3 01 00 02 00 03 a1 41 61 60", "expected a text string"},
		"trace value a number":  {"a3 01 00 02 00 03 a1 61 61 00", "expected a text string"},
		"trace keys twice":      {"a3 01 00 02 00 03 a2 61 61 60 61 61 60", "twice or out of order"},
		"codec as text":         {"a3 01 00 02 00 04 61 61", "expected an unsigned integer"},
		"idempotency as text":   {"a3 01 00 02 00 06 61 61", "expected a byte string"},
		"idempotency cut":       {"a3 01 00 02 00 06 42 61", "ends early"},
		"metadata out of order": {"a3 01 00 02 00 0a a2 62 6161 60 61 62 60", "twice or out of order"},
		"metadata by bytes":     {"a3 01 00 02 00 0a a2 61 62 60 61 61 60", "twice or out of order"},
		"metadata not UTF-8":    {"a3 01 00 02 00 0a a1 61 61 61 80", "UTF-8"},
		"metadata cut":          {"a3 01 00 02 00 0a a2 61 61 60", "ends early"},
		"credit as a number":    {"a3 01 00 02 00 0b 05", "expected an array"},
		"credit of one":         {"a3 01 00 02 00 0b 81 05", "pair"},
		"credit as text":        {"a3 01 00 02 00 0b 82 60 60", "expected an unsigned integer"},
		"keys out of order":     {"a3 02 00 01 00 03 a0", "twice or out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.ParseHeaders(unhex(t, tc.body))
			wantSyntax(t, err, "HEADERS", tc.reason)
		})
	}
}

func TestHeadersHaveLimits(t *testing.T) {
	// pairs returns n entries with distinct keys of two letters.
	pairs := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString("62" + hexByte('a'+i/26) + hexByte('a'+i%26) + "60")
		}
		return b.String()
	}
	letters := func(n int) string { return strings.Repeat("61", n) }
	for name, tc := range map[string]struct {
		body string
		// limit is 0 if the body is accepted.
		limit, got uint64
	}{
		"longest route":          {"a2 01 78ff" + letters(255) + "02 00", 0, 0},
		"route too long":         {"a2 01 790100" + letters(256) + "02 00", wire.MaxName, 256},
		"longest key":            {"a3 01 00 02 00 06 58ff" + letters(255), 0, 0},
		"key too long":           {"a3 01 00 02 00 06 590100" + letters(256), wire.MaxKeyBytes, 256},
		"most trace entries":     {"a3 01 00 02 00 03 b0" + pairs(16), 0, 0},
		"too many trace entries": {"a3 01 00 02 00 03 b1" + pairs(17), wire.MaxTracePairs, 17},
		"most metadata":          {"a3 01 00 02 00 0a b840" + pairs(64), 0, 0},
		"too much metadata":      {"a3 01 00 02 00 0a b841" + pairs(65), wire.MaxPairs, 65},
		"most metadata bytes":    {"a3 01 00 02 00 0a a1 61 61 791fff" + letters(8191), 0, 0},
		"too many in a value":    {"a3 01 00 02 00 0a a1 60 792001" + letters(8193), wire.MaxPairBytes, 8193},
		"too many in all":        {"a3 01 00 02 00 0a a1 61 61 792000" + letters(8192), wire.MaxPairBytes, 8193},
		"too many trace bytes":   {"a3 01 00 02 00 03 a1 61 61 792000" + letters(8192), wire.MaxPairBytes, 8193},
		"most credit":            {"a3 01 00 02 00 0b 82 1b3fffffffffffffff 1b3fffffffffffffff", 0, 0},
		"too many messages":      {"a3 01 00 02 00 0b 82 1b4000000000000000 00", wire.MaxVarint, wire.MaxVarint + 1},
		"too many bytes":         {"a3 01 00 02 00 0b 82 00 1b4000000000000000", wire.MaxVarint, wire.MaxVarint + 1},
		"credit of three":        {"a3 01 00 02 00 0b 83 00 00 00", 2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			body := unhex(t, tc.body)
			_, err := wire.ParseHeaders(body)
			if tc.limit != 0 {
				wantLimit(t, err, tc.limit, tc.got)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkRoundTrip(t, headersCodec(), body)
		})
	}
}

func hexByte(v int) string {
	return string("0123456789abcdef"[v>>4]) + string("0123456789abcdef"[v&15])
}

func TestClonedHeadersOwnTheirMemory(t *testing.T) {
	body := unhex(t, headersCodec().full)
	view, err := wire.ParseHeaders(body)
	if err != nil {
		t.Fatal(err)
	}
	clone := view.Clone()
	want := copyHeaders(&view)
	want.Idempotency = []byte(string(want.Idempotency))
	clear(body)
	if d := diff(want, copyHeaders(&clone)); d != "" {
		t.Errorf("clone changed with the input (-want +got):\n%s", d)
	}
	if none := (wire.HeadersView{}).Clone(); none.Route != nil || none.Metadata.Len() != 0 {
		t.Errorf("clone of the zero value is %+v", none)
	}
}
