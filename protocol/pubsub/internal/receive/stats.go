package receive

import (
	"cmp"
	"slices"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// Stats are the statistics of a subscription.
type Stats struct {
	Topic string
	// Waiting counts the frames that were received and not read.
	Waiting int
	// Idle is why no message can arrive, as far as that is known; "" if one can.
	Idle string
	// Publishers are sorted by their instances.
	Publishers []PublisherStats
}

// PublisherStats are the statistics of one publisher of a subscription.
type PublisherStats struct {
	Service   string
	Instance  string
	Connected bool
	// Unpublished means that the publisher has said that its node publishes nothing that the
	// subscription asks for.
	Unpublished bool
	// Messages counts the messages that were read, and Repeated those that were filtered out because
	// they had been read before.
	Messages uint64
	Repeated uint64
	// Gaps counts missing messages, and UnknownGaps the gaps of unknown size.
	Gaps        [journal.Reasons]uint64
	UnknownGaps uint64
	Unacked     int
}

// tally counts the records that were read from a publisher: all of them, and by what they are.
type tally struct {
	records                     uint64
	messages, repeated, unknown uint64
	gaps                        [journal.Reasons]uint64
}

func (t *tally) add(rec *journal.Record, fresh bool) {
	t.records++
	switch {
	case rec.Kind == journal.KindMessage && fresh:
		t.messages++
	case rec.Kind == journal.KindMessage:
		t.repeated++
	case rec.Kind == journal.KindGap && rec.Gap.Count == 0:
		t.unknown++
	case rec.Kind == journal.KindGap && int(rec.Gap.Reason) < journal.Reasons:
		t.gaps[rec.Gap.Reason] += rec.Gap.Count
	}
}

// Stats returns the statistics of the subscription.
func (b *Inbox) Stats() Stats {
	b.mu.Lock()
	members := slices.Collect(b.members.All())
	b.mu.Unlock()
	out := Stats{Topic: b.conf.Topic, Waiting: b.queue.len(), Idle: b.why()}
	for _, m := range members {
		m.mu.Lock()
		out.Publishers = append(out.Publishers, PublisherStats{
			Service: m.Service, Instance: m.ID, Connected: m.conn != nil, Unpublished: m.nobody != nil,
			Messages: m.count.messages, Repeated: m.count.repeated, Gaps: m.count.gaps, UnknownGaps: m.count.unknown, Unacked: len(m.out),
		})
		m.mu.Unlock()
	}
	slices.SortFunc(out.Publishers, func(a, b PublisherStats) int { return cmp.Compare(a.Instance, b.Instance) })
	return out
}
