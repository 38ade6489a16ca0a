package transport

import (
	"context"
	"errors"

	"github.com/linkmesh/link/internal/transport/carrier"
)

// awaitStream opens a stream. It waits until the peer allows one or ctx ends. Callers that
// wait here and callers that wait for a lease count together toward Limits.Streams.Waiters.
func (s *Session) awaitStream(ctx context.Context) (carrier.Stream, error) {
	stream, err := s.conn.TryOpen()
	if err == nil {
		return stream, nil
	}
	if !errors.Is(err, carrier.ErrNoStream) {
		return nil, s.streamError(err, true)
	}
	if !s.leases.waitOutside() {
		return nil, &Error{Reason: ReasonOverloaded, Peer: s.remoteAddr, NotProcessed: true, Err: errWaiters}
	}
	defer s.leases.leaveOutside()
	if stream, err = s.conn.Open(ctx); err == nil {
		return stream, nil
	}
	if ctx.Err() != nil {
		return nil, &Error{Reason: ReasonCanceled, Peer: s.remoteAddr, NotProcessed: true, Detail: "while waiting for a stream", Err: ended(ctx)}
	}
	return nil, s.streamError(err, true)
}

// waitOutside counts a caller that waits for a stream of its own. It reports false if too
// many wait already.
func (p *leasePool) waitOutside() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fullLocked() {
		return false
	}
	p.outside++
	return true
}

func (p *leasePool) leaveOutside() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outside--
}

// fullLocked reports whether Limits.Streams.Waiters callers wait.
func (p *leasePool) fullLocked() bool {
	return len(p.waiters)+p.outside >= p.session.endpoint.limits.Streams.Waiters
}
