package pubsub

import (
	"cmp"
	"time"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
)

// DeadLetter describes why a message was given up. See [DeadLetters].
type DeadLetter struct {
	// Seq is the number of the message when it was first published.
	Seq uint64
	// Published is when it was first published, and Time when it was given up, by the
	// publisher's clock.
	Published time.Time
	Time      time.Time
	// Reason is "too many deliveries" or "expired".
	Reason string
	// Group is the group that gave the message up, "" if it was not a group.
	Group string
	// Attempts is how many attempts History holds. Cause says why the last of them failed:
	// its own Cause or, if it has none, its Outcome.
	Attempts int
	Cause    string
	// History holds the last 16 attempts, oldest first.
	History []Attempt
}

// Attempt is one delivery that did not end with an ack.
type Attempt struct {
	// Began is when the message was sent to the subscriber.
	Began time.Time
	Ended time.Time
	// Outcome is "nacked", "lease ended" or "disconnected". A delivery that was ended by a
	// lost connection alone does not count toward the five after which a message is given up.
	Outcome string
	// Cause is the text of the error that the handler returned or Nack was given, up to 256
	// bytes.
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
	d := &DeadLetter{
		Seq: w.Seq, Published: time.UnixMicro(w.Published), Time: m.Time, Reason: foreign.Text(w.Reason), Group: foreign.Text(w.Group),
		Attempts: len(w.History),
	}
	for _, a := range w.History {
		d.History = append(d.History, Attempt{time.UnixMicro(a.Sent), time.UnixMicro(a.Ended), foreign.Text(a.Outcome), foreign.Text(a.Cause)})
	}
	if n := len(d.History); n > 0 {
		d.Cause = cmp.Or(d.History[n-1].Cause, d.History[n-1].Outcome)
	}
	return d
}

// reservedHeader is the prefix of headers that users cannot set.
const reservedHeader = frame.ReservedHeader
