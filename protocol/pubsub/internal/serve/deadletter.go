package serve

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

const (
	// deadHistory bounds the attempts in a dead letter.
	deadHistory = 16
	// buryBatch is how many dead letters are taken from the log at a time.
	buryBatch = 64
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
func (h *Hub) bury(ctx context.Context) {
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
func (h *Hub) dig(d *journal.DeadLetter) *grave {
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

func (h *Hub) buryOne(d *journal.DeadLetter) {
	r, topic := subject.RealmOf(d.Message.Topic)
	if r.Dead {
		// A subscription to dead letters gave one up. There are no dead letters of dead letters.
		h.dead.lost.Add(1)
		return
	}
	g := h.dig(d)
	if g == nil {
		h.dead.lost.Add(1)
		return
	}
	w := frame.DeadLetter{Seq: d.Seq, Published: d.Time.UnixMicro(), Reason: d.Reason.String(), Group: d.Group}
	for _, a := range d.History[max(len(d.History)-deadHistory, 0):] {
		w.History = append(w.History, frame.DeadAttempt{
			Sent: a.Sent.UnixMicro(), Ended: a.Ended.UnixMicro(), Outcome: a.Outcome.String(), Cause: strings.ToValidUTF8(a.Cause, ""),
		})
	}
	text, err := frame.Marshal(w)
	if err == nil {
		m := d.Message
		r.Dead = true
		m.Topic, m.TTL, m.Feed = r.Prefix()+topic, 0, 0
		m.Headers = append([]journal.Pair{{Name: frame.DeadHeader, Value: string(text)}}, m.Headers...)
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
