package frame

import (
	"math"
	"time"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// Verb is what a worker reports about a task.
type Verb uint8

// The verbs; the package documentation says what they carry.
const (
	Ack     Verb = 1
	Result  Verb = 2
	Retry   Verb = 3
	Release Verb = 4
	Reject  Verb = 5
	Started Verb = 6
)

// Bounds of what an outcome carries, in bytes.
const (
	// MaxResult is as large as a task may be.
	MaxResult = 4 << 20
	MaxCause  = 1 << 10
)

// Outcome is one OUTCOME record.
type Outcome struct {
	Verb     Verb
	Seq      uint64
	Delivery uint64
	// Ran is how long the handler ran, for Ack and Result.
	Ran time.Duration
	// Delay is for Retry. A negative one stands for the producer's backoff.
	Delay time.Duration
	// Data is the result or the cause.
	Data []byte
}

// Append appends the record to b. A cause that is too long is cut.
func (o *Outcome) Append(b []byte) []byte {
	b = append(b, byte(o.Verb))
	b = varint.Append(b, o.Seq)
	b = varint.Append(b, o.Delivery)
	switch o.Verb {
	case Ack:
		return varint.Append(b, uint64(max(o.Ran, 0).Microseconds()))
	case Result:
		b = varint.Append(b, uint64(max(o.Ran, 0).Microseconds()))
		return varint.AppendBytes(b, o.Data)
	case Retry:
		b = varint.Append(b, optional(o.Delay))
	case Started:
		return b
	case Release, Reject:
	}
	return varint.AppendBytes(b, o.Data[:min(len(o.Data), MaxCause)])
}

// Size returns an upper bound of the length of the record.
func (o *Outcome) Size() int { return 1 + 4*8 + len(o.Data) }

// Cut reads the record at the start of b into o and returns what follows it. Data
// aliases b.
func (o *Outcome) Cut(b []byte) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, ErrMalformed
	}
	*o = Outcome{Verb: Verb(b[0]), Delay: -1}
	var ok bool
	if o.Seq, b, ok = varint.Cut(b[1:]); !ok {
		return nil, ErrMalformed
	}
	if o.Delivery, b, ok = varint.Cut(b); !ok || o.Delivery > math.MaxUint32 {
		return nil, ErrMalformed
	}
	var v uint64
	switch o.Verb {
	case Ack, Result:
		if v, b, ok = varint.Cut(b); ok {
			o.Ran = micros(v)
			if o.Verb == Ack {
				return b, nil
			}
			o.Data, b, ok = varint.CutBytes(b)
			ok = ok && len(o.Data) <= MaxResult
		}
	case Retry:
		if v, b, ok = varint.Cut(b); ok {
			if v > 0 {
				o.Delay = micros(v - 1)
			}
			o.Data, b, ok = varint.CutBytes(b)
			ok = ok && len(o.Data) <= MaxCause
		}
	case Release, Reject:
		o.Data, b, ok = varint.CutBytes(b)
		ok = ok && len(o.Data) <= MaxCause
	case Started:
	default:
		ok = false
	}
	if !ok {
		return nil, ErrMalformed
	}
	return b, nil
}

// micros returns v microseconds, at most a year.
func micros(v uint64) time.Duration {
	return time.Duration(min(v, uint64(365*24*time.Hour/time.Microsecond))) * time.Microsecond
}
