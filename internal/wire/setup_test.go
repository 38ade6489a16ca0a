package wire_test

import (
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

func TestSetupRoundTrip(t *testing.T) {
	for name, s := range map[string]wire.Setup{
		"least": {Version: 1, MaxMessage: 1},
		"client": {
			Version: 1, MaxMessage: 1<<64 - 1,
			Codecs: []uint64{0},
		},
		"server": {
			Version: 1, Instance: "orders-1", Tags: []string{"zone=eu-1a", "v2", ""}, MaxMessage: 4 << 20,
			Codecs: []uint64{0, 1, 1000}, State: wire.StateDraining,
		},
		"unknown state": {Version: 2, MaxMessage: 1, State: 99},
	} {
		t.Run(name, func(t *testing.T) {
			h, body := splitFrame(t, wire.AppendSetup(nil, &s))
			if h.Kind != wire.KindSetup || h.Flags != wire.FlagCritical {
				t.Errorf("header is %+v", h)
			}
			got, err := wire.ParseSetup(body)
			if err != nil {
				t.Fatal(err)
			}
			clear(body)
			if d := diff(s, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSetupNeedsOnlyVersionAndMaxMessage(t *testing.T) {
	got, err := wire.ParseSetup(unhex(t, "a2 01 01 05 18 40"))
	if want := (wire.Setup{Version: 1, MaxMessage: 64}); err != nil || diff(want, got) != "" {
		t.Errorf("ParseSetup = %+v, %v; want %+v", got, err, want)
	}
}

// TestSetupSkipsReservedKeys checks that keys of earlier drafts are treated as
// unknown keys.
func TestSetupSkipsReservedKeys(t *testing.T) {
	got, err := wire.ParseSetup(unhex(t, "a5 01 01 03 07 05 18 40 06 19 4000 0a 41 00"))
	if want := (wire.Setup{Version: 1, MaxMessage: 64}); err != nil || diff(want, got) != "" {
		t.Errorf("ParseSetup = %+v, %v; want %+v", got, err, want)
	}
}

func TestSetupRefusesMalformedFields(t *testing.T) {
	for name, tc := range map[string]struct{ body, reason string }{
		"no keys":             {"a0", "missing"},
		"no version":          {"a1 05 01", "missing"},
		"no largest message":  {"a1 01 01", "missing"},
		"version zero":        {"a2 01 00 05 01", "missing"},
		"version as text":     {"a1 01 61 31", "expected an unsigned integer"},
		"instance as number":  {"a1 02 01", "expected a text string"},
		"instance not UTF-8":  {"a1 02 61 ff", "UTF-8"},
		"tags as a map":       {"a1 04 a0", "expected an array"},
		"tag as number":       {"a1 04 81 01", "expected a text string"},
		"tags cut":            {"a1 04 82 60", "ends early"},
		"max message as text": {"a1 05 60", "expected an unsigned integer"},
		"codecs as number":    {"a1 07 00", "expected an array"},
		"codec as text":       {"a1 07 81 60", "expected an unsigned integer"},
		"state as boolean":    {"a1 08 f4", "expected an unsigned integer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.ParseSetup(unhex(t, tc.body))
			wantSyntax(t, err, "SETUP", tc.reason)
		})
	}
}

func TestSetupHasLimits(t *testing.T) {
	letters := func(n int) string { return strings.Repeat("61", n) }
	for name, tc := range map[string]struct {
		// fields is put between keys 1 and 5, or, if after is set, after key 5.
		fields string
		after  bool
		// limit is 0 if the body is accepted.
		limit, got uint64
	}{
		"longest instance":  {"02 78ff" + letters(255), false, 0, 0},
		"instance too long": {"02 790100" + letters(256), false, wire.MaxName, 256},
		"most tags":         {"04 9840" + strings.Repeat("60", 64), false, 0, 0},
		"too many tags":     {"04 9841" + strings.Repeat("60", 65), false, wire.MaxTags, 65},
		"longest tag":       {"04 81 7880" + letters(128), false, 0, 0},
		"tag too long":      {"04 81 7881" + letters(129), false, wire.MaxTag, 129},
		"most codecs":       {"07 90" + strings.Repeat("00", 16), true, 0, 0},
		"too many codecs":   {"07 91" + strings.Repeat("00", 17), true, wire.MaxCodecs, 17},
	} {
		t.Run(name, func(t *testing.T) {
			text := "a3 01 01" + tc.fields + "05 01"
			if tc.after {
				text = "a3 01 01 05 01" + tc.fields
			}
			body := unhex(t, text)
			_, err := wire.ParseSetup(body)
			if tc.limit != 0 {
				wantLimit(t, err, tc.limit, tc.got)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkRoundTrip(t, setupCodec(), body)
		})
	}
}
