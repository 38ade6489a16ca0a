package frame

import (
	"math"
	"time"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// The flags of a TASK record, which tell its optional fields.
const (
	hasKey     = 1 << 0
	hasTrace   = 1 << 1
	hasHeaders = 1 << 2
	hasID      = 1 << 3
)

// Pair is a name with its value.
type Pair struct{ Name, Value string }

// MaxPairs bounds both the pairs of a trace and the headers of a task.
const MaxPairs = 64

// Body is the part of a task that is the same in every delivery.
type Body struct {
	Key, ID        string
	Trace, Headers []Pair
	Payload        []byte
}

// Keyed reports whether a body has a key.
func Keyed(body []byte) bool { return len(body) > 0 && body[0]&hasKey != 0 }

// Append appends the body to b.
func (t *Body) Append(b []byte) []byte {
	var flags byte
	if t.Key != "" {
		flags |= hasKey
	}
	if len(t.Trace) > 0 {
		flags |= hasTrace
	}
	if len(t.Headers) > 0 {
		flags |= hasHeaders
	}
	if t.ID != "" {
		flags |= hasID
	}
	b = append(b, flags)
	if flags == 0 {
		return append(b, t.Payload...)
	}
	if t.Key != "" {
		b = varint.AppendBytes(b, t.Key)
	}
	if len(t.Trace) > 0 {
		b = appendPairs(b, t.Trace)
	}
	if len(t.Headers) > 0 {
		b = appendPairs(b, t.Headers)
	}
	if t.ID != "" {
		b = varint.AppendBytes(b, t.ID)
	}
	return append(b, t.Payload...)
}

// ParseBody parses a body. The payload aliases b.
func ParseBody(b []byte) (Body, error) {
	var t Body
	if len(b) == 0 || b[0]&^(hasKey|hasTrace|hasHeaders|hasID) != 0 {
		return t, ErrMalformed
	}
	flags, b := b[0], b[1:]
	ok := true
	var v []byte
	if flags&hasKey != 0 {
		v, b, ok = varint.CutBytes(b)
		t.Key = string(v)
	}
	if ok && flags&hasTrace != 0 {
		t.Trace, b, ok = cutPairs(b)
	}
	if ok && flags&hasHeaders != 0 {
		t.Headers, b, ok = cutPairs(b)
	}
	if ok && flags&hasID != 0 {
		v, b, ok = varint.CutBytes(b)
		t.ID = string(v)
	}
	if !ok {
		return Body{}, ErrMalformed
	}
	t.Payload = b
	return t, nil
}

func appendPairs(b []byte, pairs []Pair) []byte {
	b = varint.Append(b, uint64(len(pairs)))
	for _, p := range pairs {
		b = varint.AppendBytes(varint.AppendBytes(b, p.Name), p.Value)
	}
	return b
}

func cutPairs(b []byte) ([]Pair, []byte, bool) {
	n, b, ok := varint.Cut(b)
	if !ok || n > MaxPairs {
		return nil, nil, false
	}
	pairs := make([]Pair, 0, n)
	for range n {
		name, rest, ok := varint.CutBytes(b)
		if !ok {
			return nil, nil, false
		}
		value, rest, ok := varint.CutBytes(rest)
		if !ok {
			return nil, nil, false
		}
		pairs, b = append(pairs, Pair{string(name), string(value)}), rest
	}
	return pairs, b, true
}

// Task is one TASK record.
type Task struct {
	Seq      uint64
	Delivery uint64
	Attempt  uint64
	Fence    uint64
	// Left is the time until the deadline. A negative one means that there is none.
	Left time.Duration
	// Start is the time until the task must have begun. A negative one means that there is no bound.
	Start time.Duration
	Body  []byte
}

// Append appends the record to b.
func (t *Task) Append(b []byte) []byte {
	left, start := optional(t.Left), optional(t.Start)
	n := varint.Len(t.Seq) + varint.Len(t.Delivery) + varint.Len(t.Attempt) + varint.Len(t.Fence) + varint.Len(left) + varint.Len(start) + len(t.Body)
	b = varint.Append(b, uint64(n))
	b = varint.Append(b, t.Seq)
	b = varint.Append(b, t.Delivery)
	b = varint.Append(b, t.Attempt)
	b = varint.Append(b, t.Fence)
	b = varint.Append(b, left)
	b = varint.Append(b, start)
	return append(b, t.Body...)
}

// optional encodes a duration as its microseconds plus 1, and a negative one as 0.
func optional(d time.Duration) uint64 {
	if d < 0 {
		return 0
	}
	return uint64(d.Microseconds()) + 1
}

func durationOf(v uint64) time.Duration {
	if v == 0 {
		return -1
	}
	return time.Duration(min(v-1, uint64(maxLeft/time.Microsecond))) * time.Microsecond
}

// MaxTaskHead bounds the bytes that a record adds to its body.
const MaxTaskHead = 7 * 8

// Cut reads the record at the start of b into t and returns what follows it. The body
// aliases b.
func (t *Task) Cut(b []byte) (rest []byte, err error) {
	r, rest, ok := varint.CutBytes(b)
	if !ok {
		return nil, ErrMalformed
	}
	var left, start uint64
	for _, f := range [...]*uint64{&t.Seq, &t.Delivery, &t.Attempt, &t.Fence, &left, &start} {
		if *f, r, ok = varint.Cut(r); !ok {
			return nil, ErrMalformed
		}
	}
	if t.Seq == 0 || t.Delivery == 0 || t.Delivery > math.MaxUint32 || t.Attempt > math.MaxUint32 || len(r) == 0 {
		return nil, ErrMalformed
	}
	t.Left, t.Start, t.Body = durationOf(left), durationOf(start), r
	return rest, nil
}

// maxLeft bounds the time until a deadline.
const maxLeft = 10 * 365 * 24 * time.Hour
