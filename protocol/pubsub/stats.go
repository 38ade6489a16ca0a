package pubsub

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/receive"
	"github.com/linkmesh/link/protocol/pubsub/internal/serve"
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
	// Lag is how far behind the subscription is. While Exact is false, Messages is an upper
	// bound that also counts messages of other subscriptions. Bytes is about the size of the
	// messages, and Age the age of the oldest one.
	Lag struct {
		Messages uint64        `json:"messages"`
		Bytes    uint64        `json:"bytes"`
		Age      time.Duration `json:"age"`
		Exact    bool          `json:"exact"`
	} `json:"lag"`
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
		s.Published, s.Readers = published(h, time.Now())
	}
	for _, b := range r.received.All() {
		s.Subscriptions = append(s.Subscriptions, subscription(b))
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

// answerStats makes a node answer QueryStats.
func answerStats(node *link.Node, r *rules) {
	host := link.HostOf(node)
	host.HandleCall(statsRoute(host.Service()), link.CallHandler{
		New: func() any { return new(struct{}) },
		Serve: func(ctx context.Context, _ any) (any, error) {
			peer := link.Caller(ctx)
			if err := r.mayInspect(peer); err != nil {
				return nil, link.Errorf(link.PermissionDenied, "%s may not inspect topics: %w", peer.Service(), err)
			}
			s := StatsOf(node)
			return &s, nil
		},
	})
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

// published returns the statistics of a hub.
func published(h *serve.Hub, now time.Time) (LogStats, []ReaderStats) {
	st, list := h.Stats(now)
	l := &st.Log
	p := LogStats{
		First: l.First, Next: l.Next, Bytes: l.Bytes, Stuck: st.Stuck,
		DeadLetters: st.DeadLetters, DeadLettersLost: st.DeadLettersLost,
		Unacked: l.Unacked, Throttled: l.Throttled, Backlog: l.Backlog, Crowded: l.Crowded, Sessions: l.Sessions, Durable: st.Durable,
	}
	readers := make([]ReaderStats, 0, len(list))
	for i := range list {
		from := &list[i]
		c := &from.Cursor
		r := ReaderStats{
			Service: from.Peer.Service(), Instance: from.Peer.Instance, Patterns: from.Patterns, Class: from.Class.String(), Group: from.Group,
			Messages: c.Messages, Bytes: c.Bytes, Gaps: gapsByReason(&c.Gaps, c.UnknownGaps), Unacked: c.Unacked,
			Unpublished: from.Unpublished,
		}
		r.Lag.Messages, r.Lag.Bytes, r.Lag.Age, r.Lag.Exact = c.Lag.Messages, c.Lag.Bytes, c.Lag.Age, c.Lag.Exact
		if !c.StuckSince.IsZero() {
			r.StuckFor = max(now.Sub(c.StuckSince), 0)
		}
		readers = append(readers, r)
	}
	return p, readers
}

// subscription returns the statistics of a subscription.
func subscription(b *receive.Inbox) SubscriptionStats {
	st := b.Stats()
	out := SubscriptionStats{Topic: st.Topic, Waiting: st.Waiting, Idle: st.Idle}
	for i := range st.Publishers {
		from := &st.Publishers[i]
		out.Publishers = append(out.Publishers, PublisherStats{
			Service: from.Service, Instance: from.Instance, Connected: from.Connected, Unpublished: from.Unpublished,
			Messages: from.Messages, Repeated: from.Repeated, Gaps: gapsByReason(&from.Gaps, from.UnknownGaps), Unacked: from.Unacked,
		})
	}
	return out
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
