package transport

import (
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// lease is a call stream that carries one unary call at a time. It is reused
// after a clean end and thrown away after any other.
type lease struct {
	session *Session
	stream  carrier.Stream
	out     callWriter
	fr      frameReader
	frames  []byte
	// fresh means that the stream type was not written yet, odd that the call is the second, fourth, ... on the stream.
	fresh bool
	odd   bool
	// maxReply bounds the reply of the call in flight, in bytes.
	maxReply uint64
	freed    time.Time
	// waited means that the call had to wait for the lease, single that the stream carries one large call and no other.
	waited bool
	single bool
	// place is the index in leasePool.busy plus one, or 0 while idle. It is guarded by leasePool.mu.
	place int

	// watch is how the call under way is watched.
	watch
}

func (s *Session) newLease(stream carrier.Stream) *lease {
	l := &lease{session: s, stream: stream, fresh: true}
	l.out = newCallWriter(&s.outbox, stream, false)
	l.fr = newFrameReader(stream, &s.endpoint.limits, s.shares.bytes, false)
	return l
}

// retire ends a stream that carries no call.
func (l *lease) retire() {
	// The peer does not know a fresh stream yet: give its number back.
	if l.fresh {
		l.stream.CancelWrite(wire.CodeNone)
		l.stream.CancelRead(wire.CodeNone)
		return
	}
	l.stream.Finish()
	l.stream.CancelRead(wire.CodeNone)
}
