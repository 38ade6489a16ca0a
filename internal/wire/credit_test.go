package wire_test

import (
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

func TestCreditRoundTrip(t *testing.T) {
	for _, c := range []wire.Credit{{}, {Messages: 1}, {Bytes: 64}, {Messages: wire.MaxVarint, Bytes: wire.MaxVarint}} {
		h, body := splitFrame(t, wire.AppendCredit(nil, c))
		if h.Kind != wire.KindCredit || h.Flags != wire.FlagCritical {
			t.Errorf("header is %+v", h)
		}
		if got, err := wire.ParseCredit(body); got != c || err != nil {
			t.Errorf("ParseCredit(%x) = %+v, %v; want %+v", body, got, err, c)
		}
	}
}

func TestCreditTakesLongForms(t *testing.T) {
	got, err := wire.ParseCredit(unhex(t, "4001 80000002"))
	if want := (wire.Credit{Messages: 1, Bytes: 2}); got != want || err != nil {
		t.Errorf("ParseCredit = %+v, %v; want %+v", got, err, want)
	}
}

func TestCreditIsTwoVarints(t *testing.T) {
	for body, reason := range map[string]string{
		"":         "ends early",
		"40":       "ends early",
		"00":       "not two varints",
		"00 40":    "not two varints",
		"00 00 00": "not two varints",
	} {
		_, err := wire.ParseCredit(unhex(t, body))
		wantSyntax(t, err, "CREDIT", reason)
	}
}
