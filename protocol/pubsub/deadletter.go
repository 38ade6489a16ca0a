package pubsub

import (
	"time"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
)

// DeadLetter describes why a message was given up. See [DeadLetters].
type DeadLetter struct {
	// Seq is the number of the message when it was first published.
	Seq uint64
	// Published is when it was first published, by the publisher's clock.
	Published time.Time
	// Reason is "too many deliveries" or "expired".
	Reason string
	// Group is the group that gave the message up, "" if it was not a group.
	Group string
	// History holds the last 16 deliveries, oldest first.
	History []Attempt
}

// Attempt is one delivery that failed.
type Attempt struct {
	Sent  time.Time
	Ended time.Time
	// Outcome is "nacked", "lease ended" or "disconnected".
	Outcome string
	// Cause is the text of the handler's error, or the cause given to Nack.
	Cause string
}

// DeadLetter returns why the message was given up, nil if it is not one of
// [DeadLetters].
func (m *Message[T]) DeadLetter() *DeadLetter {
	text := m.header(frame.DeadHeader)
	if text == nil || !m.realm.Dead {
		return nil
	}
	var w frame.DeadLetter
	if err := frame.Unmarshal(text, &w); err != nil {
		return nil
	}
	d := &DeadLetter{Seq: w.Seq, Published: time.UnixMicro(w.Published), Reason: foreign.Text(w.Reason), Group: foreign.Text(w.Group)}
	for _, a := range w.History {
		d.History = append(d.History, Attempt{time.UnixMicro(a.Sent), time.UnixMicro(a.Ended), foreign.Text(a.Outcome), foreign.Text(a.Cause)})
	}
	return d
}

// reservedHeader is the prefix of headers that users cannot set.
const reservedHeader = frame.ReservedHeader
