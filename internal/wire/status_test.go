package wire_test

import (
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

func TestStatusIsWrittenAsSpecified(t *testing.T) {
	for name, tc := range map[string]struct {
		s    wire.Status
		body string
	}{
		"ok":          {wire.Status{}, ""},
		"code":        {wire.Status{Code: 16}, "a1 01 10"},
		"message":     {wire.Status{Code: 5, Message: "no"}, "a2 01 05 02 62 6e6f"},
		"details":     {wire.Status{Details: []wire.Detail{{"a", nil}, {"b", []byte{0xf6}}}}, "a1 03 82 82 61 61 40 82 61 62 41 f6"},
		"retry after": {wire.Status{RetryAfter: 250}, "a1 04 18 fa"},
		"metadata":    {wire.Status{Metadata: []wire.Pair{{"k", "v"}}}, "a1 05 a1 61 6b 61 76"},
		"error ID":    {wire.Status{Code: 13, ErrorID: "e1"}, "a2 01 0d 06 62 6531"},
		"refused":     {wire.Status{Code: 14, Refused: true}, "a2 01 0e 07 f5"},
		"broken":      {wire.Status{Code: 13, Broken: true}, "a2 01 0d 08 f5"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, flags := range []wire.Flags{0, wire.FlagLast, wire.FlagOdd, wire.FlagLast | wire.FlagOdd} {
				h, body := splitFrame(t, wire.AppendStatus(nil, &tc.s, flags))
				if h.Kind != wire.KindStatus || h.Flags != flags|wire.FlagCritical {
					t.Errorf("header is %+v", h)
				}
				if want := unhex(t, tc.body); string(body) != string(want) {
					t.Errorf("body is %x, want %x", body, want)
				}
				got, err := wire.ParseStatus(body)
				if err != nil {
					t.Fatal(err)
				}
				if d := diff(tc.s, got); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

func TestStatusAcceptsDefaultsWrittenOut(t *testing.T) {
	for _, body := range []string{"", "a0", "a1 01 00", "a1 02 60", "a1 03 80", "a1 04 00", "a1 05 a0", "a1 06 60", "a1 07 f4", "a1 08 f4"} {
		got, err := wire.ParseStatus(unhex(t, body))
		if err != nil || diff(wire.Status{}, got) != "" {
			t.Errorf("ParseStatus(%s) = %+v, %v; want a plain OK", body, got, err)
		}
	}
}

func TestStatusRefusesMalformedFields(t *testing.T) {
	for name, tc := range map[string]struct{ body, reason string }{
		"code as text":       {"a1 01 61 35", "expected an unsigned integer"},
		"code negative":      {"a1 01 20", "expected an unsigned integer"},
		"message as bytes":   {"a1 02 41 61", "expected a text string"},
		"message not UTF-8":  {"a1 02 62 c328", "UTF-8"},
		"details as a map":   {"a1 03 a0", "expected an array"},
		"detail as text":     {"a1 03 81 61 61", "expected an array"},
		"detail of one":      {"a1 03 81 81 61 61", "pair"},
		"detail of none":     {"a1 03 81 80", "pair"},
		"detail type bytes":  {"a1 03 81 82 41 61 40", "expected a text string"},
		"detail data text":   {"a1 03 81 82 61 61 60", "expected a byte string"},
		"retry as text":      {"a1 04 60", "expected an unsigned integer"},
		"metadata twice":     {"a1 05 a2 60 60 60 60", "twice or out of order"},
		"error ID as number": {"a1 06 01", "expected a text string"},
		"refused as number":  {"a1 07 01", "expected a boolean"},
		"refused as null":    {"a1 07 f6", "expected a boolean"},
		"refused long":       {"a1 07 f8 15", "expected a boolean"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.ParseStatus(unhex(t, tc.body))
			wantSyntax(t, err, "STATUS", tc.reason)
		})
	}
}

func TestStatusHasLimits(t *testing.T) {
	letters := func(n int) string { return strings.Repeat("61", n) }
	for name, tc := range map[string]struct {
		body string
		// limit is 0 if the body is accepted.
		limit, got uint64
	}{
		"longest message":      {"a1 02 791000" + letters(4096), 0, 0},
		"message too long":     {"a1 02 791001" + letters(4097), wire.MaxText, 4097},
		"most details":         {"a1 03 90" + strings.Repeat("82 61 61 40", 16), 0, 0},
		"too many details":     {"a1 03 91" + strings.Repeat("82 61 61 40", 17), wire.MaxDetails, 17},
		"detail of three":      {"a1 03 81 83 61 61 40 40", 2, 3},
		"detail type too long": {"a1 03 81 82 790100" + letters(256) + "40", wire.MaxName, 256},
		"most metadata":        {"a1 05 a1 60 792000" + letters(8192), 0, 0},
		"too much metadata":    {"a1 05 a1 60 792001" + letters(8193), wire.MaxPairBytes, 8193},
		"too many entries":     {"a1 05 b841" + letters(130), wire.MaxPairs, 65},
		"error ID too long":    {"a1 06 790100" + letters(256), wire.MaxName, 256},
	} {
		t.Run(name, func(t *testing.T) {
			body := unhex(t, tc.body)
			_, err := wire.ParseStatus(body)
			if tc.limit != 0 {
				wantLimit(t, err, tc.limit, tc.got)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkRoundTrip(t, statusCodec(), body)
		})
	}
}

func TestStatusOwnsItsMemory(t *testing.T) {
	body := unhex(t, statusCodec().full)
	got, err := wire.ParseStatus(body)
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	want := wire.Status{
		Code: 5, Message: "gone", Details: []wire.Detail{{"a.b", []byte{0xf6}}}, RetryAfter: 100,
		Metadata: []wire.Pair{{"k", "v"}}, ErrorID: "e1", Refused: true, Broken: true,
	}
	if d := diff(want, got); d != "" {
		t.Errorf("status changed with its input (-want +got):\n%s", d)
	}
}
