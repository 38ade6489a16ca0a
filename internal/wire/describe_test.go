package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/linkmesh/link/internal/wire"
)

// The functions in this file make the comments of golden transcripts. A library
// that knows nothing of link shows CBOR in diagnostic notation (RFC 8949, section 8).

func streamTypeName(b []byte) string {
	// Transcripts begin with whole varints, which their test parses.
	v, _, _ := wire.ParseVarint(b)
	name := "grease"
	switch wire.StreamType(v) {
	case wire.StreamControl:
		name = "CONTROL"
	case wire.StreamCall:
		name = "CALL"
	case wire.StreamCalls:
		name = "CALLS"
	}
	return fmt.Sprintf("%s (0x%02x)", name, v)
}

func describe(h wire.FrameHeader) string {
	name := kindName(h.Kind)
	if wire.IsGrease(uint64(h.Kind)) {
		name = "grease"
	}
	var flags []string
	for _, f := range []struct {
		flag wire.Flags
		name string
	}{
		{wire.FlagCompressed, "compressed"},
		{wire.FlagMore, "more"},
		{wire.FlagCritical, "critical"},
		{wire.FlagCredited, "credited"},
		{wire.FlagLast, "last"},
		{wire.FlagOdd, "odd"},
	} {
		if h.Flags&f.flag != 0 {
			flags = append(flags, f.name)
		}
	}
	if len(flags) == 0 {
		flags = append(flags, "none")
	}
	unit := "bytes"
	if h.Length == 1 {
		unit = "byte"
	}
	return fmt.Sprintf("%s (0x%02x), flags %s, %d %s", name, uint64(h.Kind), strings.Join(flags, "+"), h.Length, unit)
}

// diagnose describes a body.
func diagnose(tb testing.TB, h wire.FrameHeader, body []byte) string {
	tb.Helper()
	switch {
	case len(body) == 0:
		return ""
	case h.Kind == wire.KindCredit:
		c, err := wire.ParseCredit(body)
		if err != nil {
			tb.Fatal(err)
		}
		return fmt.Sprintf("messages %d, bytes %d", c.Messages, c.Bytes)
	case h.Kind == wire.KindPing || h.Kind == wire.KindPong:
		token, err := wire.ParsePing(body)
		if err != nil {
			tb.Fatal(err)
		}
		return fmt.Sprintf("token %d", token)
	case wire.IsGrease(uint64(h.Kind)):
		return "anything"
	}
	text, err := cbor.Diagnose(body)
	switch {
	case err == nil:
		return text
	case h.Kind == wire.KindData:
		// The message is in another codec.
		return string(body)
	}
	tb.Fatalf("body of %s is not CBOR: %v", describe(h), err)
	return ""
}
