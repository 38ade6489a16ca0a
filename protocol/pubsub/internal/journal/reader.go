package journal

import (
	"fmt"
	"math"
	"time"

	"github.com/linkmesh/link/protocol/internal/varint"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// Record is a message, a gap or a mark, as a subscriber reads it. Its slices alias what the
// [Reader] was given.
type Record struct {
	// Kind is KindMessage, KindGap or KindMark.
	Kind Kind

	// Seq to Attempt are for a message.

	Seq   uint64
	Topic string
	// Time is when the message was published by the publisher's clock, in microseconds.
	Time     time.Time
	Priority uint8
	// TTL is as published. Zero means without a bound.
	TTL time.Duration
	// Feed is zero if the message is not part of a feed.
	Feed    uint64
	Key     []byte
	Trace   Pairs
	Headers Pairs
	Payload []byte
	// Attempt is the number of this delivery of AtLeastOnce. It is 1, the first, if the
	// stream does not say otherwise.
	Attempt int

	Gap  Gap
	Mark Mark
}

// ReaderLimits bounds what a [Reader] takes.
type ReaderLimits struct {
	// Topics is the most topics that are known at a time; zero means [MaxTopics].
	Topics int
}

// RecordError says what is wrong with a record. The rest of its stream cannot be read.
type RecordError struct {
	Kind    Kind
	Problem string
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("journal: malformed record of kind %d: %s", e.Kind, e.Problem)
}

const (
	maxAttempt = 1 << 16
	maxMicros  = uint64(math.MaxInt64 / time.Microsecond)
)

// Reader reads the records of one stream. It copies nothing but the names of topics,
// which it remembers from one frame to the next. It is not safe for concurrent use.
type Reader struct {
	limit  int
	topics []string
	rest   []byte
	// clock is what the times of messages count from, in microseconds since 1970.
	clock   uint64
	attempt int
	err     error
}

// NewReader returns a reader for a new stream.
func NewReader(l ReaderLimits) *Reader {
	if l.Topics <= 0 || l.Topics > MaxTopics {
		l.Topics = MaxTopics
	}
	return &Reader{limit: l.Topics}
}

// Reset gives the reader the body of the next frame, which holds whole records.
func (r *Reader) Reset(body []byte) { r.rest = body }

// Next reads the next record into rec and reports whether there was one. The error is
// a [*RecordError], and is permanent.
func (r *Reader) Next(rec *Record) (bool, error) {
	for r.err == nil && len(r.rest) > 0 {
		kind := Kind(r.rest[0])
		body, rest, ok := varint.CutBytes(r.rest[1:])
		if !ok {
			r.err = &RecordError{kind, "ends early"}
			break
		}
		r.rest = rest
		problem, done := "", true
		switch kind {
		case KindMessage:
			problem = r.message(rec, body)
		case KindGap:
			*rec = Record{Kind: KindGap}
			rec.Gap, problem = parseGap(body)
		case KindMark:
			*rec = Record{Kind: KindMark}
			rec.Mark, problem = parseMark(body)
		case KindTopic:
			problem, done = r.topic(body), false
		case KindClock:
			problem, done = r.setClock(body), false
		case KindDelivery:
			problem, done = r.delivery(body), false
		default:
			// A later version of the format has this kind.
			done = false
		}
		if problem != "" {
			r.err = &RecordError{kind, problem}
			break
		}
		if done {
			return true, nil
		}
	}
	return false, r.err
}

func (r *Reader) topic(b []byte) string {
	id, name, ok := varint.Cut(b)
	switch {
	case !ok || id >= uint64(r.limit):
		return "the number of the topic is too large"
	case len(name) > subject.MaxBytes:
		return "the name of the topic is too long"
	}
	if id >= uint64(len(r.topics)) {
		// The publisher assigns numbers in order, but a subscriber sees only some of them.
		r.topics = append(r.topics, make([]string, int(id)+1-len(r.topics))...)
	}
	s := string(name)
	if err := checkTopic(s); err != nil {
		return err.Error()
	}
	r.topics[id] = s
	return ""
}

func (r *Reader) setClock(b []byte) string {
	v, rest, ok := varint.Cut(b)
	if !ok || len(rest) > 0 {
		return "malformed time"
	}
	r.clock = v
	return ""
}

func (r *Reader) delivery(b []byte) string {
	n, rest, ok := varint.Cut(b)
	if !ok || len(rest) > 0 || n == 0 || n > maxAttempt {
		return "attempt out of range"
	}
	r.attempt = int(n)
	return ""
}

func parseGap(b []byte) (g Gap, problem string) {
	if len(b) < 2 || b[0] >= Lanes {
		return g, "no such lane"
	}
	g.Lane, g.Reason = int(b[0]), Reason(b[1])
	b = b[2:]
	for _, v := range []*uint64{&g.From, &g.To, &g.Count} {
		var ok bool
		if *v, b, ok = varint.Cut(b); !ok {
			return g, "ends early"
		}
	}
	if len(b) > 0 || g.From > g.To || g.Count > g.To-g.From+1 {
		return g, "a range or a count that cannot be"
	}
	return g, ""
}

func parseMark(b []byte) (m Mark, problem string) {
	if len(b) == 0 {
		return m, "ends early"
	}
	m.Kind = MarkKind(b[0])
	var ok bool
	if m.Seq, b, ok = varint.Cut(b[1:]); !ok || len(b) > 0 {
		return m, "malformed number"
	}
	return m, ""
}

func (r *Reader) message(rec *Record, b []byte) string {
	*rec = Record{Kind: KindMessage, Priority: DefaultPriority, Attempt: max(r.attempt, 1)}
	r.attempt = 0
	id, problem := rec.parse(b, r.clock)
	switch {
	case problem != "":
		return problem
	case id >= uint64(len(r.topics)) || r.topics[id] == "":
		return "its topic was not introduced"
	}
	rec.Topic = r.topics[id]
	return ""
}

// parse reads the body of a MSG record, whose time counts from clock, and returns the number
// of its topic.
func (rec *Record) parse(b []byte, clock uint64) (topic uint64, problem string) {
	if len(b) == 0 || b[0] > allFlags {
		return 0, "unknown flags"
	}
	flags, b := b[0], b[1:]
	seq, b, ok1 := varint.Cut(b)
	topic, b, ok2 := varint.Cut(b)
	micros, b, ok3 := varint.Cut(b)
	if !ok1 || !ok2 || !ok3 {
		return 0, "ends early"
	}
	rec.Seq, rec.Time = seq, time.UnixMicro(int64(clock+micros))
	if flags != 0 {
		if b, problem = rec.optional(flags, b); problem != "" {
			return 0, problem
		}
	}
	rec.Payload = b
	return topic, ""
}

func (rec *Record) optional(flags byte, b []byte) (rest []byte, problem string) {
	if flags&hasPriority != 0 {
		if len(b) == 0 || b[0] == 0 {
			return nil, "malformed priority"
		}
		rec.Priority, b = b[0], b[1:]
	}
	var ok bool
	if flags&hasTTL != 0 {
		var micros uint64
		if micros, b, ok = varint.Cut(b); !ok {
			return nil, "malformed TTL"
		}
		rec.TTL = time.Duration(min(micros, maxMicros)) * time.Microsecond
	}
	if flags&hasFeed != 0 {
		if rec.Feed, b, ok = varint.Cut(b); !ok || rec.Feed == 0 {
			return nil, "malformed feed number"
		}
	}
	if flags&hasKey != 0 {
		if rec.Key, b, ok = varint.CutBytes(b); !ok || len(rec.Key) > MaxKey {
			return nil, "malformed key"
		}
	}
	if flags&hasTrace != 0 {
		if rec.Trace, b, problem = cutPairs(b); problem != "" {
			return nil, problem
		}
	}
	if flags&hasHeaders != 0 {
		if rec.Headers, b, problem = cutPairs(b); problem != "" {
			return nil, problem
		}
	}
	return b, ""
}
