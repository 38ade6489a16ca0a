package wire_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

func TestGoAwayRoundTrip(t *testing.T) {
	for _, tc := range []struct {
		g    wire.GoAway
		body string
	}{
		{wire.GoAway{}, "a2 01 00 03 60"},
		{wire.GoAway{LastStream: wire.MaxVarint, Reason: "bye"}, "a2 01 1b3fffffffffffffff 03 63 627965"},
	} {
		h, body := splitFrame(t, wire.AppendGoAway(nil, &tc.g))
		if h.Kind != wire.KindGoAway || h.Flags != 0 || !bytes.Equal(body, unhex(t, tc.body)) {
			t.Errorf("frame is %+v %x, want %s", h, body, tc.body)
		}
		if got, err := wire.ParseGoAway(body); got != tc.g || err != nil {
			t.Errorf("ParseGoAway = %+v, %v; want %+v", got, err, tc.g)
		}
	}
}

func TestHealthRoundTrip(t *testing.T) {
	for _, s := range []wire.State{wire.StateServing, wire.StateDraining, 99} {
		h, body := splitFrame(t, wire.AppendHealth(nil, &wire.Health{State: s}))
		if h.Kind != wire.KindHealth || h.Flags != 0 {
			t.Errorf("header is %+v", h)
		}
		if got, err := wire.ParseHealth(body); got.State != s || err != nil {
			t.Errorf("ParseHealth(%x) = %+v, %v; want state %d", body, got, err, s)
		}
	}
	if got, err := wire.ParseHealth([]byte{0xa0}); got.State != wire.StateServing || err != nil {
		t.Errorf("ParseHealth of no state = %+v, %v; want serving", got, err)
	}
}

func TestRoutesRoundTrip(t *testing.T) {
	for _, r := range []wire.Routes{
		{},
		{First: 3, Routes: []wire.RouteInfo{{Kind: 1, Name: "placed"}}},
		{First: 3, Routes: []wire.RouteInfo{{Kind: 1, Name: "placed", MaxMessage: 1}, {Name: "get"}, {Name: "export", MaxMessage: wire.MaxVarint}}},
		{First: wire.MaxVarint, Routes: []wire.RouteInfo{{Name: "get", Level: 2}, {Name: strings.Repeat("n", 255), Kind: 1 << 40}}},
	} {
		h, body := splitFrame(t, wire.AppendRoutes(nil, &r))
		if h.Kind != wire.KindRoutes || h.Flags != 0 {
			t.Errorf("header is %+v", h)
		}
		got, err := wire.ParseRoutes(body)
		if err != nil {
			t.Fatal(err)
		}
		clear(body)
		if d := diff(r, got); d != "" {
			t.Error(d)
		}
	}
}

func TestPingRoundTrip(t *testing.T) {
	for _, kind := range []wire.Kind{wire.KindPing, wire.KindPong} {
		for _, token := range []uint64{0, 63, 64, wire.MaxVarint} {
			h, body := splitFrame(t, wire.AppendPing(nil, kind, token))
			if h.Kind != kind || h.Flags != 0 {
				t.Errorf("header is %+v", h)
			}
			if got, err := wire.ParsePing(body); got != token || err != nil {
				t.Errorf("ParsePing(%x) = %d, %v; want %d", body, got, err, token)
			}
		}
	}
	for _, body := range []string{"", "40", "00 00", "c000000000000000 00"} {
		_, err := wire.ParsePing(unhex(t, body))
		wantSyntax(t, err, "PING", "one varint")
	}
}

func TestControlBodiesRefuseMalformedFields(t *testing.T) {
	for name, tc := range map[string]struct {
		kind         wire.Kind
		body, reason string
	}{
		"last stream as text": {wire.KindGoAway, "a1 01 60", "expected an unsigned integer"},
		"reason as bytes":     {wire.KindGoAway, "a1 03 40", "expected a text string"},
		"reason not UTF-8":    {wire.KindGoAway, "a1 03 61 ff", "UTF-8"},
		"state as boolean":    {wire.KindHealth, "a1 01 f5", "expected an unsigned integer"},
		"first as text":       {wire.KindRoutes, "a1 01 60", "expected an unsigned integer"},
		"routes as a map":     {wire.KindRoutes, "a1 02 a0", "expected an array"},
		"route as text":       {wire.KindRoutes, "a1 02 81 61 61", "expected an array"},
		"route of two":        {wire.KindRoutes, "a1 02 81 82 00 61 61", "triple"},
		"route without name":  {wire.KindRoutes, "a1 02 81 83 00 60 00", "empty route"},
		"route name as bytes": {wire.KindRoutes, "a1 02 81 83 00 41 61 00", "expected a text string"},
		"route kind as text":  {wire.KindRoutes, "a1 02 81 83 60 61 61 00", "expected an unsigned integer"},
		"route level as text": {wire.KindRoutes, "a1 02 81 83 00 61 61 60", "expected an unsigned integer"},
		"tags as text":        {wire.KindTags, "a1 01 61 61", "expected an array"},
		"tag as bytes":        {wire.KindTags, "a1 01 81 41 61", "expected a text string"},
		"tags cut":            {wire.KindTags, "a1 01 82 61 61", "ends early"},
		"routes cut":          {wire.KindRoutes, "a1 02 82 83 00 61 61 00", "ends early"},
	} {
		t.Run(name, func(t *testing.T) {
			c := codecOf(tc.kind)
			_, err := c.parse(unhex(t, tc.body))
			wantSyntax(t, err, c.String(), tc.reason)
		})
	}
}

func TestControlBodiesHaveLimits(t *testing.T) {
	letters := func(n int) string { return strings.Repeat("61", n) }
	for name, tc := range map[string]struct {
		kind wire.Kind
		body string
		// limit is 0 if the body is accepted.
		limit, got uint64
	}{
		"last stream at most":   {wire.KindGoAway, "a1 01 1b3fffffffffffffff", 0, 0},
		"last stream too large": {wire.KindGoAway, "a1 01 1b4000000000000000", wire.MaxVarint, wire.MaxVarint + 1},
		"longest reason":        {wire.KindGoAway, "a1 03 791000" + letters(4096), 0, 0},
		"reason too long":       {wire.KindGoAway, "a1 03 791001" + letters(4097), wire.MaxText, 4097},
		"most tags":             {wire.KindTags, "a1 01 98 40" + strings.Repeat("61 61", 64), 0, 0},
		"too many tags":         {wire.KindTags, "a1 01 98 41" + strings.Repeat("61 61", 65), wire.MaxTags, 65},
		"tag too long":          {wire.KindTags, "a1 01 81 78 81" + letters(129), wire.MaxTag, 129},
		"first route at most":   {wire.KindRoutes, "a1 01 1b3fffffffffffffff", 0, 0},
		"first route too large": {wire.KindRoutes, "a1 01 1b4000000000000000", wire.MaxVarint, wire.MaxVarint + 1},
		"most routes":           {wire.KindRoutes, "a1 02 990400" + strings.Repeat("83 00 61 61 00", 1024), 0, 0},
		"too many routes":       {wire.KindRoutes, "a1 02 990401" + strings.Repeat("83 00 61 61 00", 1025), wire.MaxRoutes, 1025},
		"route of four":         {wire.KindRoutes, "a1 02 81 84 00 61 61 00 00", 3, 4},
		"name too long":         {wire.KindRoutes, "a1 02 81 83 00 790100" + letters(256) + "00", wire.MaxName, 256},
	} {
		t.Run(name, func(t *testing.T) {
			c, body := codecOf(tc.kind), unhex(t, tc.body)
			_, err := c.parse(body)
			if tc.limit != 0 {
				wantLimit(t, err, tc.limit, tc.got)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkRoundTrip(t, c, body)
		})
	}
}
