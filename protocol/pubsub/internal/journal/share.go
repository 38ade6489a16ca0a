package journal

import (
	"sync"
	"time"

	"github.com/linkmesh/link/internal/notify"
	pool "github.com/linkmesh/link/internal/share"
)

// share is one subscription of the log: of a single cursor, or of a group of cursors.
type share struct {
	log *Log
	// round is the last round of Log.match that found the share. The log's lock guards it.
	round uint64
	keys  map[string]struct{}
	// sub has the defaults filled in.
	sub Subscription

	// mu guards the fields below and those of the cursors. It may be taken while the log's
	// lock is held.
	mu sync.Mutex
	// gone is set when the share has no cursor any more.
	gone bool
	feed feed
	// only is nil for a group.
	only  *Cursor
	group *group
	dead  deadLetters
	// holder pays for what waits beside the windows of AtLeastOnce. For a group it is that of
	// its first member.
	holder *pool.Holder
}

// wantsKey reports whether the subscription takes messages with a key. It needs no lock,
// because the keys do not change.
func (s *share) wantsKey(key string) bool {
	if s.keys == nil {
		return true
	}
	_, ok := s.keys[key]
	return ok
}

// push adds a new message to the subscription.
func (s *share) push(seq uint64, e *entry, at int64) (queued, dropped int) {
	s.mu.Lock()
	var wake *Cursor
	if c := s.only; c == nil {
		queued, dropped = s.feed.push(seq, e)
		s.dispatch(at, false)
	} else {
		if c.parked {
			// The backlog was empty, and begins now.
			c.parked = false
			c.progress = at
			wake = c
		}
		queued, dropped = s.feed.push(seq, e)
	}
	s.mu.Unlock()
	if wake != nil {
		wake.ready.Set()
	}
	return queued, dropped
}

// Subscribe adds a subscription, or a member to a group. It starts between two messages of
// the log: the cursor gets every message that is appended after Subscribe has returned.
//
// Errors: [*OptionError], [*LimitError], a [*subject.Error] for an invalid pattern.
func (l *Log) Subscribe(sub Subscription, now time.Time) (*Cursor, error) {
	if err := sub.resolve(); err != nil {
		return nil, err
	}
	f := l.newFeed(&sub)
	used := false
	defer func() {
		if !used {
			f.backlog.end()
		}
	}()
	again, err := f.again(sub.Again, sub.Start.at)
	if err != nil {
		return nil, err
	}
	var left *leaver
	defer func() { left.handOver() }()
	l.mu.Lock()
	defer l.mu.Unlock()
	if sub.ID != "" {
		if old := l.sessions[sub.ID]; old != nil && old.gone(l.since(now), old.owner.kept) {
			// Tick would do this too.
			left = l.close(old, l.since(now), false)
		}
		if _, taken := l.sessions[sub.ID]; taken {
			return nil, &OptionError{"Subscription.ID", sub.ID, "is that of a session; resume it"}
		}
		if err := allAtMost("sessions of a log", len(l.sessions)+1, MaxSessions); err != nil {
			return nil, err
		}
	}
	c := &Cursor{ready: notify.NewFlag(), id: sub.ID, owner: session{sub.Kept, sub.Holder, sub.Ended}, membership: membership{credit: sub.Credit}, window: newWindow(l, &sub)}
	if sub.Group != "" {
		c.backlog = l.backlogOf(sub.Who)
	}
	if err := l.join(c, sub, f, again, l.since(now)); err != nil {
		if c.window != nil {
			c.window.end()
		}
		c.backlog.end()
		return nil, err
	}
	// A group that exists already has its own backlog.
	used = c.share.feed.backlog == f.backlog
	if sub.ID != "" {
		l.sessions[sub.ID] = c
	}
	return c, nil
}

// newFeed returns a feed for a subscription. The feed has not started.
func (l *Log) newFeed(sub *Subscription) *feed {
	f := &feed{log: l, backlog: l.backlogOf(sub.Who), patterns: sub.Patterns, class: sub.Class, overflow: sub.Overflow, limits: sub.Limits}
	if len(sub.Keys) > 0 {
		f.keys = make(map[string]struct{}, len(sub.Keys))
		for _, k := range sub.Keys {
			f.keys[k] = struct{}{}
		}
	}
	if sub.Class == Latest {
		f.latest = newLatest()
	}
	return f
}

// join gives a cursor its share: that of its group if the group exists, otherwise a new one with
// feed f. again has the gaps of messages that were to come again and are no longer kept.
func (l *Log) join(c *Cursor, sub Subscription, f *feed, again []Gap, now int64) error {
	if sub.Group != "" {
		if s := l.groups[sub.groupKey()]; s != nil {
			return s.enter(c, now)
		}
	}
	if err := allAtMost("subscriptions of a log", len(l.shares)+1, MaxSubscriptions); err != nil {
		return err
	}
	s := &share{log: l, sub: sub, only: c, feed: *f, keys: f.keys}
	if err := s.feed.start(sub.Start); err != nil {
		return err
	}
	// The gaps must be in order, because marks go up to the first gap that is to be told.
	s.feed.lanes[laneNormal].gaps.mix(again)
	c.share, c.progress = s, now
	if sub.Group != "" {
		s.only, s.group = nil, newGroup(l, c)
		l.groups[sub.groupKey()] = s
	}
	l.shares[s] = struct{}{}
	if sub.Class == AtLeastOnce {
		l.leased[s] = struct{}{}
		s.holder = l.unacked.Holder(sub.Who)
		s.dead.holder = s.holder
	}
	for _, p := range sub.Patterns {
		l.index.Add(p, s)
	}
	return nil
}

// leave removes a share that has no cursor any more. The log's lock is held.
func (l *Log) leave(s *share) {
	delete(l.shares, s)
	delete(l.leased, s)
	for _, p := range s.sub.Patterns {
		l.index.Remove(p, s)
	}
	if s.group != nil {
		delete(l.groups, s.sub.groupKey())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	for _, d := range s.dead.take(len(s.dead.list)) {
		l.dead.keep(d)
	}
	if s.group != nil {
		for _, t := range s.group.back.tasks.list {
			s.uncount(&t)
		}
		s.group.back.drop()
	}
	if s.holder != nil {
		s.holder.Release()
	}
	// Topics may still remember the share, so it drops what takes memory.
	s.feed.lanes, s.feed.latest, s.feed.search = [Lanes]lane{}, nil, nil
	s.feed.backlog.end()
}
