package wire_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

// view returns pairs as a receiver sees them.
func view(tb testing.TB, pairs []wire.Pair) wire.PairsView {
	tb.Helper()
	_, body := splitFrame(tb, wire.AppendHeaders(nil, &wire.Headers{Metadata: pairs}))
	h, err := wire.ParseHeaders(body)
	if err != nil {
		tb.Fatal(err)
	}
	return h.Metadata
}

func TestPairsSortAsDeterministicCBOR(t *testing.T) {
	got := []wire.Pair{{"tenant", ""}, {"b", ""}, {"", ""}, {"aa", ""}, {"é", ""}, {"a", ""}, {strings.Repeat("a", 24), ""}}
	slices.SortFunc(got, wire.ComparePairs)
	want := []wire.Pair{{"", ""}, {"a", ""}, {"b", ""}, {"aa", ""}, {"é", ""}, {"tenant", ""}, {strings.Repeat("a", 24), ""}}
	if d := diff(want, got); d != "" {
		t.Error(d)
	}
	// This fails if the parser expects another order.
	view(t, got)
}

func TestCheckPairsAcceptsWhatAParserAccepts(t *testing.T) {
	long := strings.Repeat("v", 8<<10)
	for name, tc := range map[string]struct {
		pairs      []wire.Pair
		syntax     string
		limit, got uint64
	}{
		"none":          {},
		"sorted":        {pairs: []wire.Pair{{"", "1"}, {"b", "2"}, {"aa", "3"}}},
		"most bytes":    {pairs: []wire.Pair{{"k", long[1:]}}},
		"too many":      {pairs: make([]wire.Pair, 65), limit: 64, got: 65},
		"too large":     {pairs: []wire.Pair{{"k", long}}, limit: 8 << 10, got: 8<<10 + 1},
		"twice":         {pairs: []wire.Pair{{"a", "1"}, {"a", "2"}}, syntax: "out of order"},
		"out of order":  {pairs: []wire.Pair{{"aa", ""}, {"b", ""}}, syntax: "out of order"},
		"invalid key":   {pairs: []wire.Pair{{"\xff", ""}}, syntax: "UTF-8"},
		"invalid value": {pairs: []wire.Pair{{"a", "\xc3"}}, syntax: "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			err := wire.CheckPairs("metadata", tc.pairs, wire.MaxPairs, wire.MaxPairBytes)
			_, body := splitFrame(t, wire.AppendHeaders(nil, &wire.Headers{Metadata: tc.pairs}))
			h, perr := wire.ParseHeaders(body)
			if (err == nil) != (perr == nil) {
				t.Errorf("CheckPairs says %v, the parser says %v", err, perr)
			}
			switch {
			case tc.limit != 0:
				wantLimit(t, err, tc.limit, tc.got)
				wantLimit(t, perr, tc.limit, tc.got)
			case tc.syntax != "":
				wantSyntax(t, err, "metadata", tc.syntax)
				wantSyntax(t, perr, "HEADERS", tc.syntax)
			default:
				if err != nil {
					t.Fatal(err)
				}
				if d := diff(tc.pairs, h.Metadata.AppendTo(nil)); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

func TestPairsViewGivesWhatWasSent(t *testing.T) {
	pairs := []wire.Pair{{"a", "1"}, {"b", ""}, {"key", strings.Repeat("x", 300)}}
	v := view(t, pairs)
	if v.Len() != len(pairs) {
		t.Errorf("Len is %d, want %d", v.Len(), len(pairs))
	}
	var got []wire.Pair
	for key, value := range v.All() {
		got = append(got, wire.Pair{Key: string(key), Value: string(value)})
	}
	if d := diff(pairs, got); d != "" {
		t.Errorf("All (-want +got):\n%s", d)
	}
	for key := range v.All() {
		if string(key) != "a" {
			t.Errorf("first key is %q", key)
		}
		break
	}
	first := []wire.Pair{{"before", ""}}
	if d := diff(append(slices.Clone(first), pairs...), v.AppendTo(first)); d != "" {
		t.Errorf("AppendTo (-want +got):\n%s", d)
	}
	if want := unhex(t, "61 61 61 31 61 62 60 63 6b6579 79 012c"); !bytes.HasPrefix(v.Raw(), want) || len(v.Raw()) != len(want)+300 {
		t.Errorf("Raw is %x", v.Raw())
	}
}

func TestZeroPairsViewIsEmpty(t *testing.T) {
	var v wire.PairsView
	if v.Len() != 0 || len(v.Raw()) != 0 || v.AppendTo(nil) != nil {
		t.Errorf("zero value holds %d entries, %x, %v", v.Len(), v.Raw(), v.AppendTo(nil))
	}
	for key, value := range v.All() {
		t.Errorf("zero value gives %q=%q", key, value)
	}
}

func TestAppendedPairsOwnTheirMemory(t *testing.T) {
	_, body := splitFrame(t, wire.AppendHeaders(nil, &wire.Headers{Metadata: []wire.Pair{{"k", "v"}}}))
	h, err := wire.ParseHeaders(body)
	if err != nil {
		t.Fatal(err)
	}
	got := h.Metadata.AppendTo(nil)
	clear(body)
	if got[0] != (wire.Pair{"k", "v"}) {
		t.Errorf("pair is %v after the input changed", got[0])
	}
}
