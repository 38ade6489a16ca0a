package wire_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

func TestFrameHeaderRoundTrip(t *testing.T) {
	for _, tc := range []struct {
		h   wire.FrameHeader
		hex string
	}{
		{wire.FrameHeader{Kind: wire.KindData}, "02 00 00"},
		{wire.FrameHeader{Kind: wire.KindStatus, Flags: wire.FlagCritical | wire.FlagLast, Length: 63}, "03 14 3f"},
		{wire.FrameHeader{Kind: wire.KindPatternMax, Flags: wire.FlagCredited, Length: 64}, "407f 08 4040"},
		{wire.FrameHeader{Kind: wire.MaxVarint, Flags: 0xff, Length: wire.MaxVarint}, "ffffffffffffffff ff ffffffffffffffff"},
	} {
		want := unhex(t, tc.hex)
		if got := wire.AppendFrameHeader(nil, tc.h); !bytes.Equal(got, want) {
			t.Errorf("AppendFrameHeader(%+v) = %x, want %x", tc.h, got, want)
		}
		got, n, err := wire.ParseFrameHeader(append(bytes.Clone(want), 1, 2, 3))
		if got != tc.h || n != len(want) || err != nil {
			t.Errorf("ParseFrameHeader(%x) = %+v, %d, %v", want, got, n, err)
		}
		for i := range want {
			if _, _, err := wire.ParseFrameHeader(want[:i]); !errors.Is(err, wire.ErrShort) {
				t.Errorf("ParseFrameHeader(%x) error is %v, want ErrShort", want[:i], err)
			}
		}
	}
}

func TestFrameHeaderTakesLongForms(t *testing.T) {
	h, n, err := wire.ParseFrameHeader(unhex(t, "4002 04 80000005"))
	if want := (wire.FrameHeader{Kind: wire.KindData, Flags: wire.FlagCritical, Length: 5}); h != want || n != 7 || err != nil {
		t.Errorf("ParseFrameHeader = %+v, %d, %v; want %+v, 7, nil", h, n, err, want)
	}
}

func TestOpenFrameLearnsItsLengthAtItsEnd(t *testing.T) {
	b, body := wire.BeginFrame([]byte("before"), wire.KindData, wire.FlagCritical)
	b = append(b, "message"...)
	if err := wire.EndFrame(b, body); err != nil {
		t.Fatal(err)
	}
	if want := append([]byte("before"), unhex(t, "02 04 80000007 6d657373616765")...); !bytes.Equal(b, want) {
		t.Errorf("frame is %x, want %x", b, want)
	}
}

func TestOpenFrameHasAMostLength(t *testing.T) {
	// A body that starts before the buffer can be 1 GiB long without taking
	// memory.
	wantLimit(t, wire.EndFrame(nil, -(wire.MaxOpenFrame+1)), wire.MaxOpenFrame, wire.MaxOpenFrame+1)
}
