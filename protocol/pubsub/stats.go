package pubsub

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// maxStats bounds the Readers and the Subscriptions of a Stats.
const maxStats = 1000

// Stats are the statistics of publish/subscribe on a node.
type Stats struct {
	Published LogStats `json:"published"`
	// Readers are the subscriptions at this node, at most 1000. Those that are furthest behind
	// come first.
	Readers []ReaderStats `json:"readers,omitempty"`
	// Subscriptions are the subscriptions of this node, at most 1000, in the same order.
	Subscriptions []SubscriptionStats `json:"subscriptions,omitempty"`
	// Omitted counts the entries beyond these.
	Omitted int `json:"omitted,omitempty"`
}

// LogStats describes the log of a node. It is zero for a node that publishes nothing.
type LogStats struct {
	// First is the number of the oldest message that is kept, and Next the number of the
	// next message. Bytes is the size of all that are kept, including bookkeeping.
	First uint64 `json:"first"`
	Next  uint64 `json:"next"`
	Bytes int    `json:"bytes"`
	// Stuck counts the subscriptions that were disconnected because they took nothing for
	// 30 s. DeadLetters counts the messages that were given up, and DeadLettersLost
	// those that could not be kept as dead letters.
	Stuck           uint64 `json:"stuck"`
	DeadLetters     uint64 `json:"dead_letters"`
	DeadLettersLost uint64 `json:"dead_letters_lost"`
	// Unacked is how many bytes it takes to keep all messages that wait for acks. Throttled
	// counts how often a subscription had to wait because its subscriber's share of the
	// 512 MiB for these was in use.
	Unacked   int    `json:"unacked"`
	Throttled uint64 `json:"throttled"`
	// Backlog is how many bytes the backlogs of all subscriptions take, beyond the first
	// 8 KiB of each. Crowded counts how often one could not grow because its subscriber's
	// share of the 256 MiB for these was in use.
	Backlog int    `json:"backlog"`
	Crowded uint64 `json:"crowded"`
	// Sessions counts the AtLeastOnce subscriptions that the node keeps a place for, connected
	// or not, and Durable those of them that have a name.
	Sessions int `json:"sessions"`
	Durable  int `json:"durable"`
}

// ReaderStats is a subscription at the node that publishes.
type ReaderStats struct {
	Service  string   `json:"service"`
	Instance string   `json:"instance"`
	Patterns []string `json:"patterns"`
	Class    string   `json:"class"`
	Group    string   `json:"group,omitempty"`
	Lag      Lag      `json:"lag"`
	// Messages counts deliveries, including repetitions.
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	// Gaps counts missing messages by reason; "unknown" counts gaps of unknown size.
	Gaps    map[string]uint64 `json:"gaps,omitempty"`
	Unacked int               `json:"unacked,omitempty"`
	// Unpublished reports that the reader was told that the node does not publish what it
	// asks for.
	Unpublished bool `json:"unpublished,omitempty"`
	// StuckFor is how long nothing was taken though there is a backlog.
	StuckFor time.Duration `json:"stuck_for,omitempty"`
}

// Lag is how far behind a subscription is. While Exact is false, Messages is an upper bound
// that also counts messages of other subscriptions. Age is the age of the oldest message.
type Lag struct {
	Messages uint64        `json:"messages"`
	Bytes    uint64        `json:"bytes"`
	Age      time.Duration `json:"age"`
	Exact    bool          `json:"exact"`
}

// SubscriptionStats is a subscription of the node.
type SubscriptionStats struct {
	Topic string `json:"topic"`
	// Waiting counts the frames that were received and not read.
	Waiting int `json:"waiting"`
	// Idle is why no message can arrive, if that is known: either no publisher was found, or
	// the publishers do not publish to the topic; then it names the nearest topics. It is
	// known 5 s after the subscription began.
	Idle       string           `json:"idle,omitempty"`
	Publishers []PublisherStats `json:"publishers,omitempty"`
}

// PublisherStats is one publisher of a subscription.
type PublisherStats struct {
	Service   string `json:"service"`
	Instance  string `json:"instance"`
	Connected bool   `json:"connected"`
	// Unpublished reports that the publisher's node publishes to no topic that the
	// subscription asks for.
	Unpublished bool   `json:"unpublished,omitempty"`
	Messages    uint64 `json:"messages"`
	// Repeated counts the messages that were received again and filtered out.
	Repeated uint64            `json:"repeated"`
	Gaps     map[string]uint64 `json:"gaps,omitempty"`
	Unacked  int               `json:"unacked,omitempty"`
}

// StatsOf returns the statistics of a node.
func StatsOf(node *link.Node) Stats {
	r := rulesOf(node)
	var s Stats
	if h := r.hub.Load(); h != nil {
		s.Published, s.Readers = h.stats(time.Now())
	}
	for _, b := range r.list() {
		s.Subscriptions = append(s.Subscriptions, b.stats())
	}
	s.trim()
	return s
}

// QueryStats asks an instance of a service, which opts may select, for its statistics. A node
// answers only after its first publisher was made. Errors are those of [link.Host.Call], and
// PermissionDenied if the rule of [Authorize] refuses [CanInspect].
func QueryStats(ctx context.Context, node *link.Node, service string, opts ...link.CallOption) (Stats, error) {
	var s Stats
	err := link.HostOf(node).Call(ctx, statsRoute(service), &struct{}{}, &s, opts...)
	return s, err
}

func statsRoute(service string) link.Route {
	return link.Route{Service: service, Name: "link.sys/topics", Kind: link.KindMethod, Level: link.ReadOnly}
}

func (h *hub) serveStats(ctx context.Context, _ any) (any, error) {
	if allow := h.rules.allow.Load(); allow != nil {
		peer := link.Caller(ctx)
		if err := (*allow)(Access{Peer: peer, Verb: CanInspect}); err != nil {
			return nil, link.Errorf(link.PermissionDenied, "%s may not inspect topics: %w", peer.Service(), err)
		}
	}
	s := StatsOf(h.node)
	return &s, nil
}

func (s *Stats) trim() {
	slices.SortFunc(s.Readers, func(a, b ReaderStats) int {
		return cmp.Or(cmp.Compare(b.Lag.Messages, a.Lag.Messages), cmp.Compare(a.Instance, b.Instance))
	})
	slices.SortFunc(s.Subscriptions, func(a, b SubscriptionStats) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(a.Topic, b.Topic))
	})
	if n := len(s.Readers) - maxStats; n > 0 {
		s.Readers, s.Omitted = s.Readers[:maxStats], n
	}
	if n := len(s.Subscriptions) - maxStats; n > 0 {
		s.Subscriptions, s.Omitted = s.Subscriptions[:maxStats], s.Omitted+n
	}
}

func (h *hub) stats(now time.Time) (LogStats, []ReaderStats) {
	l := h.log.Stats()
	p := LogStats{
		First: l.First, Next: l.Next, Bytes: l.Bytes, Stuck: h.stuck.Load(),
		DeadLetters: h.dead.kept.Load(), DeadLettersLost: h.dead.lost.Load() + l.DeadLetters,
		Unacked: l.Unacked, Throttled: l.Throttled, Backlog: l.Backlog, Crowded: l.Crowded, Sessions: l.Sessions, Durable: int(h.durable.Used()),
	}
	h.mu.Lock()
	list := make([]*session, 0, len(h.sessions))
	for s := range h.sessions {
		list = append(list, s)
	}
	h.mu.Unlock()
	readers := make([]ReaderStats, 0, len(list))
	for _, s := range list {
		st := s.cursor.Stats(now)
		r := ReaderStats{
			Service: s.peer.Service(), Instance: s.peer.Instance, Patterns: s.patterns, Class: s.class.String(), Group: s.group,
			Lag:      Lag{st.Lag.Messages, st.Lag.Bytes, st.Lag.Age, st.Lag.Exact},
			Messages: st.Messages, Bytes: st.Bytes, Gaps: gapsByReason(&st.Gaps, st.UnknownGaps), Unacked: st.Unacked,
			Unpublished: s.unpublished.Load(),
		}
		if !st.StuckSince.IsZero() {
			r.StuckFor = max(now.Sub(st.StuckSince), 0)
		}
		readers = append(readers, r)
	}
	return p, readers
}

func gapsByReason(counts *[journal.Reasons]uint64, unknown uint64) map[string]uint64 {
	var out map[string]uint64
	note := func(name string, n uint64) {
		if n == 0 {
			return
		}
		if out == nil {
			out = make(map[string]uint64)
		}
		out[name] = n
	}
	for reason, n := range counts {
		note(journal.Reason(reason).String(), n)
	}
	note("unknown", unknown)
	return out
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

func (b *inbox) stats() SubscriptionStats {
	b.mu.Lock()
	members := slices.Collect(b.members.All())
	b.mu.Unlock()
	out := SubscriptionStats{Topic: b.name, Waiting: len(b.in), Idle: b.why()}
	for _, m := range members {
		m.mu.Lock()
		out.Publishers = append(out.Publishers, PublisherStats{
			Service: m.Service, Instance: m.ID, Connected: m.conn != nil, Unpublished: m.nobody != nil, Messages: m.count.messages, Repeated: m.count.repeated,
			Gaps: gapsByReason(&m.count.gaps, m.count.unknown), Unacked: len(m.out),
		})
		m.mu.Unlock()
	}
	slices.SortFunc(out.Publishers, func(a, b PublisherStats) int { return cmp.Compare(a.Instance, b.Instance) })
	return out
}
