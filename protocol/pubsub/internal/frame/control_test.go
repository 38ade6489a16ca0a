package frame

import (
	"fmt"
	"strings"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestControlFramesMakeNoCodec checks that a control frame is encoded and decoded without making a
// codec, which costs a hundred times as much as the frame.
func TestControlFramesMakeNoCodec(t *testing.T) {
	got := testing.AllocsPerRun(100, func() {
		f, err := Encode(KindVerdict, &Verdict{Acks: []uint64{1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		var v Verdict
		if err := Decode(f, KindVerdict, &v); err != nil {
			t.Fatal(err)
		}
	})
	// Under the race detector, a sync.Pool drops items at random.
	if got > 10 && !race.Enabled {
		t.Errorf("%v allocations for a frame and its reading, want at most 10", got)
	}
}

// hostile returns a SUBSCRIBE frame with the given fields, which may be malformed or too large.
func hostile(t *testing.T, fields map[int]any) link.Frame {
	t.Helper()
	body, err := codec.CBOR().Append(nil, fields)
	if err != nil {
		t.Fatal(err)
	}
	return link.Frame{Kind: KindSubscribe, Body: body}
}

// TestWhoIsRefusedHasNothingDecodedButItsWish checks that ParseWish decodes only the patterns and
// the few other fields that decide whether a peer may subscribe: the rest of a SUBSCRIBE costs no
// allocations before that.
func TestWhoIsRefusedHasNothingDecodedButItsWish(t *testing.T) { // SEC-357
	many := func(n, size int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprintf("%0*d", size, i)
		}
		return out
	}
	for name, c := range map[string]struct {
		fields map[int]any
		refuse string
	}{
		"short":            {map[int]any{1: []string{"placed"}}, ""},
		"all that may be":  {map[int]any{1: many(64, 255), 2: many(1024, 128), 18: make([]uint64, 8192)}, ""},
		"countless keys":   {map[int]any{1: []string{"placed"}, 2: many(30_000, 5)}, ""},
		"countless ranges": {map[int]any{1: []string{"placed"}, 18: make([]uint64, 200_000)}, ""},
		"patterns":         {map[int]any{1: many(30_000, 5)}, "more than 64 patterns"},
		"too long":         {map[int]any{1: []string{"placed"}, 2: many(1024, 250)}, "the limit is 245760"},
	} {
		t.Run(name, func(t *testing.T) {
			f := hostile(t, c.fields)
			var err error
			allocs := testing.AllocsPerRun(10, func() { _, err = ParseWish(f) })
			if c.refuse == "" && err != nil || c.refuse != "" && (err == nil || !strings.Contains(err.Error(), c.refuse)) {
				t.Errorf("%v, want %q", err, c.refuse)
			}
			if most := journal.MaxPatterns + 16.0; allocs > most && !race.Enabled {
				t.Errorf("%v allocations before anybody said that the peer may, want at most %v", allocs, most)
			}
		})
	}
	f := hostile(t, map[int]any{1: []string{"placed", ""}})
	wish, err := ParseWish(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSubscribe(f, wish); err == nil {
		t.Error("a pattern passed that nobody was asked about")
	}
}
