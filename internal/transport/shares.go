package transport

import (
	"context"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/wire"
)

// pools are the bounds that all peers of an endpoint share. docs/design.md has a
// table of them.
type pools struct {
	calls   *share.Pool // calls and streams that handlers run
	streams *share.Pool // streams that peers have open, idle ones among them
	conns   *share.Pool // connections that peers dialed
	bytes   *share.Pool // bytes of messages that are being received, wait to be read, or are not read by the peer
	windows *share.Pool // bytes that connections may have in flight to us, beyond what each has at first
	credit  *share.Pool // bytes of credit that streams have given out, and of frames that came for it and are not read
	late    *share.Pool // streams whose credit has not been given back yet, see credit.go
}

// What each peer may have of a pool whatever its share, as long as it is free. The
// floor of bytes is one message.
const (
	floorCalls      = 64
	floorStreams    = 256
	floorConns      = 16
	floorWindows    = 4 << 20
	floorCredit     = 4 << 20
	floorHandshakes = 8
)

// lateShare is which part of Limits.StreamsPerProcess may be streams of which nothing is left but the
// credit that has not returned, beside those that are open.
const lateShare = 4

func newPools(l *Limits) pools {
	return pools{
		calls:   share.NewPool(share.Config{Limit: int64(l.CallsPerProcess), Floor: floorCalls, Most: int64(l.CallsPerIdentity)}),
		streams: share.NewPool(share.Config{Limit: int64(l.StreamsPerProcess), Floor: floorStreams}),
		conns:   share.NewPool(share.Config{Limit: int64(l.ConnsPerProcess), Floor: floorConns, Most: int64(l.ConnsPerIdentity)}),
		bytes:   share.NewPool(share.Config{Limit: l.InFlightBytes, Floor: int64(l.MaxMessage)}),
		windows: share.NewPool(share.Config{Limit: l.WindowBytes, Floor: floorWindows}),
		credit:  share.NewPool(share.Config{Limit: l.CreditBytes, Floor: floorCredit}),
		late:    share.NewPool(share.Config{Limit: int64(l.StreamsPerProcess) / lateShare, Floor: floorStreams}),
	}
}

// shares is what one peer has of each pool, over all connections to it.
type shares struct {
	calls, streams, conns, bytes, windows, credit, late *share.Holder
}

// shares returns the shares of a peer; release must follow when nothing of it is
// left.
func (p *pools) shares(who *Identity, addr string) shares {
	key := share.KeyOf(who.Key, addr, who.Advisory)
	return shares{
		calls:   p.calls.Holder(key),
		streams: p.streams.Holder(key),
		conns:   p.conns.Holder(key),
		bytes:   p.bytes.Holder(key),
		windows: p.windows.Holder(key),
		credit:  p.credit.Holder(key),
		late:    p.late.Holder(key),
	}
}

func (s *shares) release() {
	for _, h := range []*share.Holder{s.calls, s.streams, s.conns, s.bytes, s.windows, s.credit, s.late} {
		h.Release()
	}
}

// admitSession finds room for an accepted session: if there is none, the longest
// unused connection makes way of the same peer or, if all are in use, of one that
// has more of them.
func (e *Endpoint) admitSession(s *Session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	if err := s.shares.conns.Take(1); err != nil {
		victim := e.victimLocked(s.shares.conns, err)
		if victim == nil {
			return false
		}
		victim.evicted = true
		e.group.Go(func(context.Context) { victim.close(wire.CodeOverloaded, "too many connections") })
		s.shares.conns.Add(1)
	}
	e.accepted++
	s.admitted = true
	e.sessions[s] = struct{}{}
	return true
}

// victimLocked returns the unused session that makes way for a new one of the
// holder, for which there is no room because of why: of those who have most, the
// longest unused one.
func (e *Endpoint) victimLocked(of *share.Holder, why error) *Session {
	var victim *Session
	for s := range e.sessions {
		if s.dialed || s.evicted || s.active.Load() > 0 {
			continue
		}
		theirs := s.shares.conns
		if theirs != of && (theirs.Held() <= of.Held() || why == share.ErrMost || why == share.ErrShare && !theirs.SamePlace(of)) { //nolint:errorlint // they come as they are
			continue
		}
		if victim == nil || theirs.Held() > victim.shares.conns.Held() ||
			theirs.Held() == victim.shares.conns.Held() && s.used.Load() < victim.used.Load() {
			victim = s
		}
	}
	return victim
}
