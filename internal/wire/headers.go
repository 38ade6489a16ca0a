package wire

import "bytes"

// Headers opens a call or a stream. The sender fills in a Headers; the receiver
// gets a [HeadersView].
type Headers struct {
	Route       string // key 1 as text: the name of the route, if the peer assigned no number to it
	RouteID     uint64 // key 1 as integer: the number from the peer's ROUTES; used if Route is ""
	Timeout     uint64 // key 2: microseconds that remain until the deadline
	Trace       []Pair // key 3: trace context, sorted by [ComparePairs]
	Codec       uint64 // key 4: number of the codec, left out if zero (CBOR)
	Idempotency []byte // key 6: the caller's idempotency key, left out if empty
	Attempt     uint64 // key 7: number of earlier attempts, left out if zero
	RouteKind   uint64 // key 9: kind of the route, left out if zero (method) or if RouteID is used
	Metadata    []Pair // key 10: the user's metadata, sorted by [ComparePairs]
	Credit      Credit // key 11: initial credit from the opener of a stream, left out if zero
	MaxMessage  uint64 // key 12: bytes of the largest message the opener accepts; left out if zero (as in its SETUP)
}

// AppendHeaders appends a whole HEADERS frame. It does not check limits; the
// caller does so once per call with [CheckPairs].
func AppendHeaders(b []byte, h *Headers) []byte {
	b, body := BeginFrame(b, KindHeaders, FlagCritical)
	n := byte(2)
	for _, set := range [...]bool{
		len(h.Trace) > 0, h.Codec != 0, len(h.Idempotency) > 0, h.Attempt != 0,
		h.Route != "" && h.RouteKind != 0, len(h.Metadata) > 0, h.Credit != Credit{}, h.MaxMessage != 0,
	} {
		if set {
			n++
		}
	}
	b = append(b, majorMap|n, 1)
	if h.Route != "" {
		b = appendText(b, h.Route)
	} else {
		b = appendUint(b, h.RouteID)
	}
	b = appendUint(append(b, 2), h.Timeout)
	if len(h.Trace) > 0 {
		b = appendPairs(append(b, 3), h.Trace)
	}
	if h.Codec != 0 {
		b = appendUint(append(b, 4), h.Codec)
	}
	if len(h.Idempotency) > 0 {
		b = appendBytes(append(b, 6), h.Idempotency)
	}
	if h.Attempt != 0 {
		b = appendUint(append(b, 7), h.Attempt)
	}
	if h.Route != "" && h.RouteKind != 0 {
		b = appendUint(append(b, 9), h.RouteKind)
	}
	if len(h.Metadata) > 0 {
		b = appendPairs(append(b, 10), h.Metadata)
	}
	if h.Credit != (Credit{}) {
		b = appendHead(append(b, 11), majorArray, 2)
		b = appendUint(appendUint(b, h.Credit.Messages), h.Credit.Bytes)
	}
	if h.MaxMessage != 0 {
		b = appendUint(append(b, 12), h.MaxMessage)
	}
	putVarint4(b[body-4:], uint64(len(b)-body))
	return b
}

// HeadersView is a parsed HEADERS body; see [Headers] for its fields. Its slices
// alias the input.
type HeadersView struct {
	// Route is nil if the route came as a number.
	Route   []byte
	RouteID uint64
	// Timeout is in microseconds.
	Timeout     uint64
	Trace       PairsView
	Codec       uint64
	Idempotency []byte
	Attempt     uint64
	RouteKind   uint64
	Metadata    PairsView
	Credit      Credit
	// MaxMessage is zero if the limit in SETUP applies.
	MaxMessage uint64
}

// ParseHeaders parses the body of a HEADERS frame.
func ParseHeaders(body []byte) (h HeadersView, err error) {
	if len(body) > MaxHeader {
		return h, &LimitError{What: "HEADERS body", Limit: MaxHeader, Got: uint64(len(body))}
	}
	r := reader{b: body, what: "HEADERS"}
	var hasRoute, hasTimeout bool
	n := r.mapping(maxSkipElements)
	for i, last := 0, uint64(0); i < n && r.err == nil; i++ {
		key := r.uint()
		if i > 0 && key <= last {
			r.fail("keys twice or out of order")
		}
		if last = key; r.err != nil {
			break
		}
		switch key {
		case 1:
			hasRoute = true
			if len(r.b) > 0 && r.b[0]&0xe0 == majorText {
				if h.Route = r.text(MaxName); len(h.Route) == 0 {
					r.fail("empty route")
				}
			} else {
				h.RouteID = r.uint()
			}
		case 2:
			h.Timeout, hasTimeout = r.uint(), true
		case 3:
			h.Trace = r.pairs(MaxTracePairs, MaxPairBytes)
		case 4:
			h.Codec = r.uint()
		case 6:
			h.Idempotency = r.bytes(MaxKeyBytes)
		case 7:
			h.Attempt = r.uint()
		case 9:
			h.RouteKind = r.uint()
		case 10:
			h.Metadata = r.pairs(MaxPairs, MaxPairBytes)
		case 11:
			if r.array(2) != 2 {
				r.fail("credit is not a pair")
			}
			h.Credit = Credit{Messages: r.uint62(), Bytes: r.uint62()}
		case 12:
			h.MaxMessage = r.uint()
		default:
			r.skip()
		}
	}
	if r.err == nil && (!hasRoute || !hasTimeout) {
		r.fail("route or timeout missing")
	}
	// A route number implies the kind, and an explicit kind could contradict it.
	if h.Route == nil && h.RouteKind != 0 {
		r.fail("kind beside the number of a route")
	}
	if err := r.end(); err != nil {
		return HeadersView{}, err
	}
	return h, nil
}

// Clone returns a copy that shares no memory with the input of the parser.
func (h HeadersView) Clone() HeadersView {
	h.Route = bytes.Clone(h.Route)
	h.Idempotency = bytes.Clone(h.Idempotency)
	h.Trace.raw = bytes.Clone(h.Trace.raw)
	h.Metadata.raw = bytes.Clone(h.Metadata.raw)
	return h
}
