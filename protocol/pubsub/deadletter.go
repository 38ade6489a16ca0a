package pubsub

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
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
	text := m.header(deadHeader)
	if text == nil || !m.realm.dead {
		return nil
	}
	var w deadLetter
	if err := control.Decode(text, &w); err != nil {
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

// deadHeader is the header of a dead letter that holds a deadLetter.
const deadHeader = reservedHeader + "dead"

// reservedHeader is the prefix of headers that users cannot set.
const reservedHeader = "_link."

// deadHistory bounds the attempts in a dead letter.
const deadHistory = 16

// deadLetter is a DeadLetter on the wire. Its keys are never renumbered. Times here and in
// deadAttempt are in microseconds since 1970.
type deadLetter struct {
	Seq       uint64        `cbor:"1,keyasint"`
	Published int64         `cbor:"2,keyasint"`
	Reason    string        `cbor:"3,keyasint"`
	Group     string        `cbor:"4,keyasint,omitempty"`
	History   []deadAttempt `cbor:"5,keyasint,omitempty"`
}

type deadAttempt struct {
	Sent    int64  `cbor:"1,keyasint"`
	Ended   int64  `cbor:"2,keyasint"`
	Outcome string `cbor:"3,keyasint"`
	Cause   string `cbor:"4,keyasint,omitempty"`
}

// buryBatch is how many dead letters are taken from the log at a time.
const buryBatch = 64

const (
	// deadShare bounds the bytes of all dead letters in the log, to an eighth of it: messages
	// that failed for one subscription must not evict messages that others have yet to read.
	// One identity may have half of it.
	deadShare = journal.DefaultBytes / 8
	// deadFloor is how many bytes each identity may have, as long as they are free: one
	// message of the maximum length.
	deadFloor = journal.DefaultMaxMessage + deadOverhead
	// deadOverhead is about what a dead letter takes in the log besides its payload.
	deadOverhead = 1 << 10
	// refusedEvery is how often dead letters without room are logged.
	refusedEvery = 10 * time.Second
)

// grave is a dead letter in the log.
type grave struct {
	seq    uint64
	size   int64
	holder *share.Holder
}

// bury publishes messages that were given up, in the realm of dead letters, until none is
// left or ctx ends.
func (h *hub) bury(ctx context.Context) {
	for ctx.Err() == nil {
		letters := h.log.DeadLetters(buryBatch)
		for i := range letters {
			h.buryOne(&letters[i])
		}
		if len(letters) < buryBatch {
			break
		}
	}
	if now := time.Now(); h.dead.refused > 0 && now.Sub(h.dead.refusedAt) >= refusedEvery {
		link.HostOf(h.node).Logger().Warn("pubsub: messages were given up that could not be kept as dead letters, because those of one subscriber may take a sixteenth of what the node keeps; they are counted in Stats",
			"messages", h.dead.refused)
		h.dead.refused, h.dead.refusedAt = 0, now
	}
}

// dig reserves room for a dead letter. It returns nil if the subscriber that gave the
// message up has none left.
func (h *hub) dig(d *journal.DeadLetter) *grave {
	first, n := h.log.First(), 0
	for ; n < len(h.dead.graves) && h.dead.graves[n].seq < first; n++ {
		h.dead.graves[n].close()
	}
	h.dead.graves = slices.Delete(h.dead.graves, 0, n)
	g := &grave{size: int64(len(d.Message.Payload) + deadOverhead), holder: h.dead.pool.Holder(d.Who)}
	if g.holder.Take(g.size) != nil {
		g.holder.Release()
		h.dead.refused++
		return nil
	}
	return g
}

// close releases the room of a grave.
func (g *grave) close() {
	g.holder.Give(g.size)
	g.holder.Release()
}

func (h *hub) buryOne(d *journal.DeadLetter) {
	r, topic := realmOf(d.Message.Topic)
	if r.dead {
		// A subscription to dead letters gave one up. There are no dead letters of dead letters.
		h.dead.lost.Add(1)
		return
	}
	g := h.dig(d)
	if g == nil {
		h.dead.lost.Add(1)
		return
	}
	w := deadLetter{Seq: d.Seq, Published: d.Time.UnixMicro(), Reason: d.Reason.String(), Group: d.Group}
	for _, a := range d.History[max(len(d.History)-deadHistory, 0):] {
		w.History = append(w.History, deadAttempt{a.Sent.UnixMicro(), a.Ended.UnixMicro(), a.Outcome.String(), strings.ToValidUTF8(a.Cause, "")})
	}
	text, err := control.Append(nil, w)
	if err == nil {
		m := d.Message
		r.dead = true
		m.Topic, m.TTL, m.Feed = r.prefix()+topic, 0, 0
		m.Headers = append([]journal.Pair{{Name: deadHeader, Value: string(text)}}, m.Headers...)
		g.seq, err = h.log.Number(&m, time.Now())
		if _, ok := errors.AsType[*journal.LimitError](err); ok {
			// The message's own headers leave no room for one more.
			m.Headers = m.Headers[:1]
			g.seq, err = h.log.Number(&m, time.Now())
		}
	}
	if err != nil {
		g.close()
		h.dead.lost.Add(1)
	} else {
		h.dead.graves = append(h.dead.graves, *g)
		h.dead.kept.Add(1)
	}
	if h.dead.told.CompareAndSwap(false, true) {
		link.HostOf(h.node).Logger().Warn("pubsub: a message was given up; subscribe to pubsub.DeadLetters of its topic to see such messages",
			"topic", topic, "seq", d.Seq, "reason", w.Reason, "group", d.Group, "error", err)
	}
}
