package wire_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/linkmesh/link/internal/wire"
)

// bodyCodec is one of the map bodies of link/1 with its parser and its writer. It
// lets a test check a rule that holds for all of them.
type bodyCodec struct {
	kind wire.Kind
	// full is a body with every key, as hex.
	full string
	// limit is the size of the largest body in bytes.
	limit int
	// required holds the keys that the writer always writes, optional those that it
	// leaves out if they have their default.
	required []uint64
	optional []uint64
	parse    func(body []byte) (any, error)
	write    func(b []byte, v any) []byte
}

func (c *bodyCodec) String() string { return kindName(c.kind) }

func bodyCodecs() []*bodyCodec {
	return []*bodyCodec{headersCodec(), statusCodec(), setupCodec(), goAwayCodec(), healthCodec(), routesCodec(), tagsCodec()}
}

func codecOf(kind wire.Kind) *bodyCodec {
	for _, c := range bodyCodecs() {
		if c.kind == kind {
			return c
		}
	}
	return nil
}

func headersCodec() *bodyCodec {
	return &bodyCodec{
		kind: wire.KindHeaders,
		full: "a9 01 65 6f2f676574 02 19 03e8 03 a1 61 74 61 30 04 02 06 42 6b31 07 01 09 01 0a a2 61 61 61 31 62 6262 60 0b 82 10 19 1000",

		limit:    wire.MaxHeader,
		required: []uint64{1, 2},
		optional: []uint64{3, 4, 6, 7, 9, 10, 11},
		parse: func(body []byte) (any, error) {
			view, err := wire.ParseHeaders(body)
			return copyHeaders(&view), err
		},
		write: writer(wire.AppendHeaders),
	}
}

func statusCodec() *bodyCodec {
	return &bodyCodec{
		kind:     wire.KindStatus,
		full:     "a8 01 05 02 64 676f6e65 03 81 82 63 612e62 41 f6 04 18 64 05 a1 61 6b 61 76 06 62 6531 07 f5 08 f5",
		limit:    wire.MaxHeader,
		optional: []uint64{1, 2, 3, 4, 5, 6, 7, 8},
		parse:    func(body []byte) (any, error) { return ptr(wire.ParseStatus(body)) },
		write:    writer(func(b []byte, s *wire.Status) []byte { return wire.AppendStatus(b, s, 0) }),
	}
}

func setupCodec() *bodyCodec {
	return &bodyCodec{
		kind:     wire.KindSetup,
		full:     "a6 01 01 02 62 6931 04 82 62 7632 61 61 05 1a 00400000 07 82 00 01 08 01",
		limit:    wire.MaxControl,
		required: []uint64{1, 2, 4, 5, 7, 8},
		parse:    func(body []byte) (any, error) { return ptr(wire.ParseSetup(body)) },
		write:    writer(wire.AppendSetup),
	}
}

func goAwayCodec() *bodyCodec {
	return &bodyCodec{
		kind:     wire.KindGoAway,
		full:     "a2 01 18 2c 03 63 627965",
		limit:    wire.MaxControl,
		required: []uint64{1, 3},
		parse:    func(body []byte) (any, error) { return ptr(wire.ParseGoAway(body)) },
		write:    writer(wire.AppendGoAway),
	}
}

func healthCodec() *bodyCodec {
	return &bodyCodec{
		kind:     wire.KindHealth,
		full:     "a1 01 01",
		limit:    wire.MaxControl,
		required: []uint64{1},
		parse:    func(body []byte) (any, error) { return ptr(wire.ParseHealth(body)) },
		write:    writer(wire.AppendHealth),
	}
}

func tagsCodec() *bodyCodec {
	return &bodyCodec{
		kind:     wire.KindTags,
		full:     "a1 01 82 62 7632 61 61",
		limit:    wire.MaxControl,
		required: []uint64{1},
		parse:    func(body []byte) (any, error) { return ptr(wire.ParseTags(body)) },
		write:    writer(wire.AppendTags),
	}
}

func routesCodec() *bodyCodec {
	return &bodyCodec{
		kind:     wire.KindRoutes,
		full:     "a2 01 05 02 82 83 00 63 676574 02 83 01 65 776174 6368 00",
		limit:    wire.MaxControl,
		required: []uint64{1, 2},
		parse:    func(body []byte) (any, error) { return ptr(wire.ParseRoutes(body)) },
		write:    writer(wire.AppendRoutes),
	}
}

func writer[T any](write func([]byte, *T) []byte) func([]byte, any) []byte {
	return func(b []byte, v any) []byte {
		// v is what the parser of the same codec returned.
		p, _ := v.(*T)
		return write(b, p)
	}
}

func ptr[T any](v T, err error) (any, error) { return &v, err }

// copyHeaders converts what a receiver gets into what a sender fills in.
func copyHeaders(v *wire.HeadersView) *wire.Headers {
	return &wire.Headers{
		Route:       string(v.Route),
		RouteID:     v.RouteID,
		Timeout:     v.Timeout,
		Trace:       v.Trace.AppendTo(nil),
		Codec:       v.Codec,
		Idempotency: v.Idempotency,
		Attempt:     v.Attempt,
		RouteKind:   v.RouteKind,
		Metadata:    v.Metadata.AppendTo(nil),
		Credit:      v.Credit,
	}
}

// kindName returns the name of a kind in docs/wire.md.
func kindName(k wire.Kind) string {
	switch k {
	case wire.KindHeaders:
		return "HEADERS"
	case wire.KindData:
		return "DATA"
	case wire.KindStatus:
		return "STATUS"
	case wire.KindCredit:
		return "CREDIT"
	case wire.KindEnd:
		return "END"
	case wire.KindHeartbeat:
		return "HEARTBEAT"
	case wire.KindSetup:
		return "SETUP"
	case wire.KindGoAway:
		return "GOAWAY"
	case wire.KindHealth:
		return "HEALTH"
	case wire.KindRoutes:
		return "ROUTES"
	case wire.KindAuth:
		return "AUTH"
	case wire.KindPing:
		return "PING"
	case wire.KindPong:
		return "PONG"
	case wire.KindTags:
		return "TAGS"
	}
	if k >= wire.KindPattern && k <= wire.KindPatternMax {
		return "PATTERN"
	}
	return "UNKNOWN"
}

// unhex reads hex digits with any white space between them.
func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		tb.Fatalf("bad hex in test: %v", err)
	}
	return b
}

// splitFrame returns the header and the body of a whole frame.
func splitFrame(tb testing.TB, frame []byte) (wire.FrameHeader, []byte) {
	tb.Helper()
	h, n, err := wire.ParseFrameHeader(frame)
	if err != nil {
		tb.Fatalf("frame header of %x: %v", frame, err)
	}
	if got := uint64(len(frame) - n); got != h.Length {
		tb.Fatalf("frame says that its body has %d bytes, it has %d", h.Length, got)
	}
	return h, frame[n:]
}

func diff(want, got any) string { return cmp.Diff(want, got, cmpopts.EquateEmpty()) }

// wantSyntax reports an error unless err is a *wire.SyntaxError whose What is what,
// and whose Reason contains reason.
func wantSyntax(tb testing.TB, err error, what, reason string) {
	tb.Helper()
	syntax, ok := errors.AsType[*wire.SyntaxError](err)
	if !ok || syntax.What != what || !strings.Contains(syntax.Reason, reason) {
		tb.Errorf("error is %v, want a SyntaxError in %s: …%s…", err, what, reason)
	}
}

// wantLimit reports an error unless err is a *wire.LimitError with these numbers.
func wantLimit(tb testing.TB, err error, limit, got uint64) {
	tb.Helper()
	if e, ok := errors.AsType[*wire.LimitError](err); !ok || e.Limit != limit || e.Got != got {
		tb.Errorf("error is %v, want a LimitError with limit %d and value %d", err, limit, got)
	}
}

// checkRoundTrip parses body and, if it is accepted, writes the value again. The
// result must parse to an equal value, and must be the same bytes if body is one
// that the writer would write.
func checkRoundTrip(tb testing.TB, c *bodyCodec, body []byte) {
	tb.Helper()
	first, err := c.parse(body)
	if err != nil {
		return
	}
	h, again := splitFrame(tb, c.write(nil, first))
	if h.Kind != c.kind {
		tb.Fatalf("writer made a frame of kind %#x, want %#x", h.Kind, c.kind)
	}
	second, err := c.parse(again)
	if err != nil {
		tb.Fatalf("%v: parser refuses what the writer made of %x: %v", c, body, err)
	}
	if d := diff(first, second); d != "" {
		tb.Fatalf("%v %x changed on its way (-before +after):\n%s", c, body, d)
	}
	if canonical(tb, c, body) && string(again) != string(body) {
		tb.Fatalf("%v written again differs:\n in %x\nout %x", c, body, again)
	}
}
