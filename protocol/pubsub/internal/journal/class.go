package journal

import (
	"fmt"
	"time"
)

// Class is the delivery guarantee of a subscription.
type Class uint8

// The classes.
const (
	// BestEffort drops messages that overflow the subscription's limits, and reports them in
	// gaps.
	BestEffort Class = iota
	// Latest delivers the newest message of each topic and key.
	Latest
	// Reliable delivers everything that is in the ring. If the next message has left the
	// ring, the subscription ends with a position to resume at.
	Reliable
	// AtLeastOnce delivers a message until it is acked, or has failed too often.
	AtLeastOnce
)

func (c Class) String() string {
	switch c {
	case BestEffort:
		return "best effort"
	case Latest:
		return "latest"
	case Reliable:
		return "reliable"
	case AtLeastOnce:
		return "at least once"
	default:
		return fmt.Sprintf("class %d", uint8(c))
	}
}

// Overflow is what a BestEffort subscription drops when it is at its limits.
type Overflow uint8

// The policies.
const (
	// DropOldest drops the oldest message of the lowest lane that has any. If the new
	// message is of a lower lane than all of these, it is dropped itself.
	DropOldest Overflow = iota
	// DropNewest drops the message that does not fit.
	DropNewest
)

// Limits bound the backlog of a subscription. A zero field means the default of the class.
// Classes and fields that are not in the table have no limit but the ring.
//
//	             Messages   Bytes   Age
//	BestEffort   1024       8 MiB   10 s
//	Latest       65 536 keys, also the most
//	AtLeastOnce  1000       8 MiB        delivered and not yet acked; at most 65 536 and 64 MiB
//
// Bytes counts whole records, in a backlog each rounded up to 16 bytes.
type Limits struct {
	Messages int
	Bytes    int
	Age      time.Duration
}

func (l Limits) resolved(c Class) (Limits, error) {
	for _, f := range []struct {
		name  string
		value int64
	}{{"Messages", int64(l.Messages)}, {"Bytes", int64(l.Bytes)}, {"Age", int64(l.Age)}} {
		if f.value < 0 {
			return l, &OptionError{"Limits." + f.name, f.value, "is negative"}
		}
	}
	if err := atMost("Limits.Messages", l.Messages, MaxBacklog); err != nil {
		return l, err
	}
	var d Limits
	switch c {
	case BestEffort:
		d = Limits{DefaultMessages, DefaultBacklogBytes, DefaultBacklogAge}
	case Latest:
		if err := atMost("Limits.Messages of Latest", l.Messages, DefaultLatestKeys); err != nil {
			return l, err
		}
		d = Limits{Messages: DefaultLatestKeys}
	case AtLeastOnce:
		if err := atMost("Limits.Messages of at least once", l.Messages, MaxWindow); err != nil {
			return l, err
		}
		if err := atMost("Limits.Bytes of at least once", l.Bytes, MaxWindowBytes); err != nil {
			return l, err
		}
		d = Limits{Messages: DefaultWindow, Bytes: DefaultWindowBytes}
	case Reliable:
	default:
		return l, &OptionError{"Subscription.Class", uint8(c), "is unknown"}
	}
	if l.Messages == 0 {
		l.Messages = d.Messages
	}
	if l.Bytes == 0 {
		l.Bytes = d.Bytes
	}
	if l.Age == 0 {
		l.Age = d.Age
	}
	return l, nil
}
