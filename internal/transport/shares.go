package transport

import (
	"context"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/wire"
)

// pools are the bounds that all peers of an endpoint share. docs/design.md has a
// table of them.
type pools struct {
	// calls counts the calls and streams that handlers run.
	calls *share.Pool
	// streams counts the streams that peers have open, including idle ones.
	streams *share.Pool
	// conns counts the connections that peers dialed.
	conns *share.Pool
	// bytes counts the bytes of messages that are being received, wait to be read, or wait for the peer to read them.
	bytes *share.Pool
	// windows counts the bytes that connections may have in flight to us, beyond what each has at first.
	windows *share.Pool
	// credit counts the bytes of credit that streams have granted, and of credited frames that were not read yet.
	credit *share.Pool
	// late counts the streams whose credit has not been returned yet, see credit.go.
	late *share.Pool
}

// The floors are what each peer may have of a pool whatever its share, as long as there is
// room. The floor of bytes is one message.
const (
	floorCalls      = 64
	floorStreams    = 256
	floorConns      = 16
	floorWindows    = 4 << 20
	floorCredit     = 4 << 20
	floorHandshakes = 8
)

// lateShare divides Limits.Streams.PerProcess. The quotient is how many ended streams may wait for their
// credit to be returned, in addition to the streams that are open.
const lateShare = 4

func newPools(l *Limits) pools {
	return pools{
		calls:   share.NewPool(share.Config{Limit: int64(l.CallsPerProcess), Floor: floorCalls, Most: int64(l.CallsPerIdentity)}),
		streams: share.NewPool(share.Config{Limit: int64(l.Streams.PerProcess), Floor: floorStreams}),
		conns:   share.NewPool(share.Config{Limit: int64(l.ConnsPerProcess), Floor: floorConns, Most: int64(l.ConnsPerIdentity)}),
		bytes:   share.NewPool(share.Config{Limit: l.InFlightBytes, Floor: int64(l.MaxMessage)}),
		windows: share.NewPool(share.Config{Limit: l.WindowBytes, Floor: floorWindows}),
		credit:  share.NewPool(share.Config{Limit: l.CreditBytes, Floor: floorCredit}),
		late:    share.NewPool(share.Config{Limit: int64(l.Streams.PerProcess) / lateShare, Floor: floorStreams}),
	}
}

// shares holds what one peer has of each pool, over all connections to it.
type shares struct {
	calls, streams, conns, bytes, windows, credit, late *share.Holder
}

// shares returns the shares of a peer. release must follow once they are no longer
// used.
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

// admitSession finds room for an accepted session, and reports whether it has. If there
// is none, an unused connection makes way, of the same peer or of a peer that has more
// of them, see victimLocked.
func (e *Endpoint) admitSession(s *Session) bool {
	e.known.mu.Lock()
	defer e.known.mu.Unlock()
	if e.known.closed {
		return false
	}
	if err := s.shares.conns.Take(1); err != nil {
		victim := e.victimLocked(s.shares.conns, err)
		if victim == nil {
			return false
		}
		victim.serving.evicted = true
		e.group.Go(func(context.Context) { victim.close(wire.CodeOverloaded, "too many connections") })
		s.shares.conns.Add(1)
	}
	e.known.accepted++
	s.serving.admitted = true
	e.known.sessions[s] = struct{}{}
	return true
}

// victimLocked returns the unused session that makes way for a new one of the holder,
// for which there is no room because of why, or nil. It is the longest unused session
// of the peer that has the most connections.
func (e *Endpoint) victimLocked(of *share.Holder, why error) *Session {
	var victim *Session
	for s := range e.known.sessions {
		if s.dialed || s.serving.evicted || s.usage.active.Load() > 0 {
			continue
		}
		theirs := s.shares.conns
		if theirs != of && (theirs.Held() <= of.Held() || why == share.ErrMost || why == share.ErrShare && !theirs.SamePlace(of)) { //nolint:errorlint // they come as they are
			continue
		}
		if victim == nil || theirs.Held() > victim.shares.conns.Held() ||
			theirs.Held() == victim.shares.conns.Held() && s.usage.used.Load() < victim.usage.used.Load() {
			victim = s
		}
	}
	return victim
}
