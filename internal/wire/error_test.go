package wire_test

import (
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

func TestCodesHaveNames(t *testing.T) {
	for code, want := range map[wire.Code]string{
		wire.CodeNone: "NO_ERROR", wire.CodeGoingAway: "GOING_AWAY", wire.CodeIdle: "IDLE",
		wire.CodeIdle + 1: "CODE_0xf", wire.MaxVarint: "CODE_0x3fffffffffffffff",
	} {
		if got := code.String(); got != want {
			t.Errorf("Code(%#x).String() = %q, want %q", uint64(code), got, want)
		}
	}
}

func TestOnlyThreeCodesSayThatNoHandlerRan(t *testing.T) {
	for code := range wire.CodeIdle + 2 {
		want := code == wire.CodeRefused || code == wire.CodeGoingAway || code == wire.CodeOverloaded
		if got := code.NotProcessed(); got != want {
			t.Errorf("%v.NotProcessed() = %t", code, got)
		}
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	_, syntax := wire.ParseHeaders([]byte{0xa0})
	_, limit := wire.ParseSetup(unhex(t, "a1 04 9841"))
	for want, err := range map[string]error{
		"wire: malformed HEADERS: route or timeout missing":   syntax,
		"wire: SETUP: an array of 65 exceeds the limit of 64": limit,
		"wire: frame body of 5 exceeds the limit of 4":        &wire.LimitError{What: "frame body", Limit: 4, Got: 5},
	} {
		if got := err.Error(); got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
	}
}

// TestGreaseIsNoKnownValue checks that known kinds and types are never taken for
// grease, because they would be ignored.
func TestGreaseIsNoKnownValue(t *testing.T) {
	for v := range uint64(wire.KindPatternMax) + 1 {
		if wire.IsGrease(v) {
			t.Errorf("%#x is grease, but kinds up to %#x are in use", v, uint64(wire.KindPatternMax))
		}
	}
	for n := uint64(4); n < 100; n++ {
		if v := 0x1f*n + 0x21; !wire.IsGrease(v) || wire.IsGrease(v+1) || wire.IsGrease(v-1) {
			t.Errorf("%#x should be grease, its neighbors not", v)
		}
	}
	if last := uint64(wire.MaxVarint) - (wire.MaxVarint-0x21)%0x1f; !wire.IsGrease(last) {
		t.Errorf("%#x should be grease", last)
	}
}
