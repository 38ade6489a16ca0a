package journal

import (
	"encoding/binary"
	"time"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// Kind is the first byte of a record.
type Kind uint8

// The kinds of records. The package documentation has their layout.
const (
	KindTopic    Kind = 1
	KindMessage  Kind = 2
	KindGap      Kind = 3
	KindMark     Kind = 4
	KindDelivery Kind = 5
	KindClock    Kind = 6
)

// clockBits is how many bits of its time a MSG record has. The others are in the CLOCK record
// before it. With 29 bits a time takes 4 bytes, and there is a CLOCK every 9 minutes.
const clockBits = 29

// splitClock splits a time into the number of a CLOCK record and the rest.
func splitClock(micros uint64) (clock uint32, rest uint64) {
	return uint32(micros >> clockBits), micros & (1<<clockBits - 1)
}

// Flags of a MSG record. They say which optional fields it has.
const (
	hasKey      = 1 << 0
	hasTTL      = 1 << 1
	hasHeaders  = 1 << 2
	hasTrace    = 1 << 3
	hasPriority = 1 << 4
	hasFeed     = 1 << 5
	allFlags    = 1<<6 - 1
)

// MarkKind says what a MARK record marks.
type MarkKind uint8

// The kinds of marks. Both say that every message up to and including the number of the mark
// was delivered or told before it.
const (
	// MarkLive comes once, where the messages from before the subscription end.
	MarkLive MarkKind = 1
	// MarkProgress may come at any time.
	MarkProgress MarkKind = 2
)

// Mark is the content of a MARK record.
type Mark struct {
	Kind MarkKind
	Seq  uint64
}

// layout has the lengths of the parts of a MSG record. Records of long messages have the
// number and the topic in long form, because these are filled in after the payload was copied.
type layout struct {
	flags byte
	// seq, id and time are the lengths of these varints.
	seq, id int
	time    int
	// ttl is in microseconds.
	ttl uint64
	// head is the length of the body up to the payload.
	head  int
	body  int
	total int
	// key is the offset of the key in the record.
	key      int
	priority uint8
	feed     uint64
}

// measure fills in the layout of a message's record.
func (l *layout) measure(m *Message, seq, id, micros uint64, long bool) {
	l.seq, l.id, l.time = 8, 4, varint.Len(micros)
	if !long {
		l.seq, l.id = varint.Len(seq), varint.Len(id)
	}
	n := 1 + l.seq + l.id + l.time
	if !m.Bare() {
		n = l.measureOptional(m, n)
	}
	l.head = n
	l.body = n + len(m.Payload)
	start := 1 + varint.Len(uint64(l.body))
	l.key += start
	l.total = start + l.body
}

// Bare reports whether a message has nothing but a topic and a payload, as most have.
func (m *Message) Bare() bool {
	return (m.Priority == 0 || m.Priority == DefaultPriority) && m.TTL == 0 && m.Feed == 0 && m.Key == "" && len(m.Trace)+len(m.Headers) == 0
}

// measureOptional adds the lengths of the optional fields to the n bytes before them, and
// returns the sum.
func (l *layout) measureOptional(m *Message, n int) int {
	if m.Priority != 0 && m.Priority != DefaultPriority {
		l.flags |= hasPriority
		l.priority = m.Priority
		n++
	}
	if m.TTL > 0 {
		l.flags |= hasTTL
		l.ttl = uint64(max(m.TTL/time.Microsecond, 1))
		n += varint.Len(l.ttl)
	}
	if m.Feed > 0 {
		l.flags |= hasFeed
		l.feed = m.Feed
		n += varint.Len(l.feed)
	}
	if m.Key != "" {
		l.flags |= hasKey
		n += varint.Len(uint64(len(m.Key)))
		l.key = n
		n += len(m.Key)
	}
	if len(m.Trace) > 0 {
		l.flags |= hasTrace
		n += pairsLen(m.Trace)
	}
	if len(m.Headers) > 0 {
		l.flags |= hasHeaders
		n += pairsLen(m.Headers)
	}
	return n
}

// append appends the record of m to b. l is the layout that was measured for m.
func (m *Message) append(b []byte, l *layout, seq, id, micros uint64) []byte {
	b = append(b, byte(KindMessage))
	b = varint.Append(b, uint64(l.body))
	b = append(b, l.flags)
	b = varint.AppendAs(b, seq, l.seq)
	b = varint.AppendAs(b, id, l.id)
	b = varint.AppendAs(b, micros, l.time)
	if l.flags != 0 {
		b = m.appendOptional(b, l)
	}
	return append(b, m.Payload...)
}

func (m *Message) appendOptional(b []byte, l *layout) []byte {
	if l.flags&hasPriority != 0 {
		b = append(b, l.priority)
	}
	if l.flags&hasTTL != 0 {
		b = varint.Append(b, l.ttl)
	}
	if l.flags&hasFeed != 0 {
		b = varint.Append(b, l.feed)
	}
	if l.flags&hasKey != 0 {
		b = varint.Append(b, uint64(len(m.Key)))
		b = append(b, m.Key...)
	}
	if l.flags&hasTrace != 0 {
		b = appendPairs(b, m.Trace)
	}
	if l.flags&hasHeaders != 0 {
		b = appendPairs(b, m.Headers)
	}
	return b
}

// number fills in the number and the topic of the record of a long message.
func (l *layout) number(record []byte, seq, id uint64) {
	at := l.total - l.body + 1
	binary.BigEndian.PutUint64(record[at:], seq|3<<62)
	binary.BigEndian.PutUint32(record[at+8:], uint32(id)|2<<30)
}

func pairsLen(pairs []Pair) int {
	n := varint.Len(uint64(len(pairs)))
	for _, p := range pairs {
		n += varint.Len(uint64(len(p.Name))) + len(p.Name) + varint.Len(uint64(len(p.Value))) + len(p.Value)
	}
	return n
}

func appendPairs(b []byte, pairs []Pair) []byte {
	b = varint.Append(b, uint64(len(pairs)))
	for _, p := range pairs {
		b = append(varint.Append(b, uint64(len(p.Name))), p.Name...)
		b = append(varint.Append(b, uint64(len(p.Value))), p.Value...)
	}
	return b
}

// Bounds of the lengths of records. topicLen does not include the name of the topic.
const (
	topicLen    = 1 + 2 + 4
	maxGapLen   = 2 + 2 + 3*8
	maxMarkLen  = 2 + 1 + 8
	deliveryLen = 2 + 8
	clockLen    = 2 + 8
)

func appendTopic(b []byte, id uint64, name string) []byte {
	b = append(b, byte(KindTopic))
	b = varint.Append(b, uint64(varint.Len(id)+len(name)))
	return append(varint.Append(b, id), name...)
}

func appendGap(b []byte, g Gap) []byte {
	b = append(b, byte(KindGap), byte(2+varint.Len(g.From)+varint.Len(g.To)+varint.Len(g.Count)))
	b = append(b, byte(g.Lane), byte(g.Reason))
	return varint.Append(varint.Append(varint.Append(b, g.From), g.To), g.Count)
}

func appendMark(b []byte, m Mark) []byte {
	b = append(b, byte(KindMark), byte(1+varint.Len(m.Seq)), byte(m.Kind))
	return varint.Append(b, m.Seq)
}

func appendClock(b []byte, clock uint32) []byte {
	base := uint64(clock) << clockBits
	b = append(b, byte(KindClock), byte(varint.Len(base)))
	return varint.Append(b, base)
}

func appendDelivery(b []byte, attempt int) []byte {
	b = append(b, byte(KindDelivery), byte(varint.Len(uint64(attempt))))
	return varint.Append(b, uint64(attempt))
}
