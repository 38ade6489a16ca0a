package transport

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// Reply is the reply to a unary call. Message aliases a buffer of the call:
// [Reply.Release] must be called once it is no longer needed, and not before.
type Reply struct {
	// Message is nil if the reply has no message.
	Message []byte
	Status  wire.Status
	// At is when the reply was complete.
	At time.Time

	lease *lease
	clean bool
}

// Release recycles the buffer and the stream of the reply, and clears it. It does nothing
// if the reply is empty.
func (r *Reply) Release() {
	l := r.lease
	if l == nil {
		return
	}
	clean := r.clean
	*r = Reply{}
	l.fr.release()
	if clean {
		l.session.leases.put(l)
	}
}

const (
	// inlineBody is the largest body, in bytes, that is copied behind the headers rather
	// than written separately.
	inlineBody = 8 << 10
	// LeasedMessage is the largest request, in bytes, that is sent on a leased stream.
	LeasedMessage = 64 << 10
)

// Call sends one unary call and waits for its reply. data is a whole DATA frame. The call
// starts at now and ends at deadline at the latest. Call does not retain h or data. reply
// must be empty, and after an error it is empty again: there is nothing to release. It is a
// pointer because the stack of a goroutine that has waited is cold, and copying replies up
// the stack was 4 % of a client with 256 calls in flight.
//
// An error of type [*Error] says whether a handler may have seen the call.
func (s *Session) Call(ctx context.Context, now, deadline time.Time, h *wire.Headers, data []byte, reply *Reply) error {
	return s.CallMovable(ctx, now, deadline, h, data, nil, reply)
}

// CallMovable is like [Session.Call], but the call may leave for another peer while this
// one is in doubt. mover, which may be nil, decides when. A call that leaves fails with
// [ReasonDoubt].
func (s *Session) CallMovable(ctx context.Context, now, deadline time.Time, h *wire.Headers, data []byte, mover Mover, reply *Reply) error {
	defer s.release()
	if err := s.acquire(); err != nil {
		return err
	}
	l, waited, err := s.leaseFor(ctx, deadline, len(data))
	if err != nil {
		return err
	}
	if waited {
		now = time.Now()
	}
	h.Timeout = uint64(max(deadline.Sub(now).Microseconds(), 0))
	l.begin(ctx, now, deadline, mover)
	failed := l.exchange(h, data, reply)
	untouched := l.finish()
	if failed == nil {
		reply.At = time.Now()
		s.touch(reply.At)
		l.freed = reply.At
		reply.clean = reply.clean && untouched && !l.single
		if !reply.clean {
			l.discard(wire.CodeNone)
		}
		return nil
	}
	l.discard(wire.CodeCanceled)
	l.fr.release()
	*reply = Reply{}
	return l.failure(ctx, failed)
}

// leaseFor returns a stream for a call with a message of size bytes, and whether the call had to wait for it. A large
// message gets a stream of its own.
func (s *Session) leaseFor(ctx context.Context, deadline time.Time, size int) (l *lease, waited bool, err error) {
	if size <= LeasedMessage {
		if l, err = s.leases.get(ctx, deadline); err != nil {
			return nil, false, err
		}
		waited, l.waited = l.waited, false
		return l, waited, nil
	}
	open, cancel := context.WithDeadline(ctx, deadline)
	stream, err := s.awaitStream(open)
	cancel()
	if err != nil {
		return nil, false, err
	}
	l = s.newLease(stream)
	l.single = true
	s.leases.use(l)
	return l, true, nil
}

// discard ends a stream that is not reused.
func (l *lease) discard(code wire.Code) {
	l.session.leases.remove(l)
	l.stream.CancelRead(code)
	if code == wire.CodeNone {
		l.stream.Finish()
		return
	}
	l.stream.CancelWrite(code)
}

// failure returns the error of a failed call: why this side ended it or, if it did not,
// what the transport reports.
func (l *lease) failure(ctx context.Context, failed *callFailure) error {
	s := l.session
	unsent := failed.unsent || s.unserved(l.stream.ID())
	switch l.ending.Load() {
	case endCanceled:
		return &Error{Reason: ReasonCanceled, Peer: s.remoteAddr, NotProcessed: unsent, Err: ended(ctx)}
	case endDeadline:
		// If both ended at once, the context takes precedence.
		if ctx.Err() != nil {
			return &Error{Reason: ReasonCanceled, Peer: s.remoteAddr, NotProcessed: unsent, Err: ended(ctx)}
		}
		return &Error{Reason: ReasonCanceled, Peer: s.remoteAddr, NotProcessed: unsent, Err: context.DeadlineExceeded}
	case endMoved:
		return &Error{Reason: ReasonDoubt, Peer: s.remoteAddr, NotProcessed: unsent, Detail: "the peer has not answered for a while"}
	}
	e := s.streamError(failed.err, unsent)
	e.NotProcessed = e.NotProcessed && !failed.answered
	return e
}

// callFailure is the error of an exchange, and whether a handler may have seen the request.
type callFailure struct {
	err error
	// unsent means that the request was not written completely.
	unsent bool
	// answered means that part of a reply arrived, so a handler has run.
	answered bool
}

// exchange writes the request and reads the reply. It writes a small request itself, because every extra function on the way
// is one more frame on the stack of each waiting caller.
func (l *lease) exchange(h *wire.Headers, data []byte, reply *Reply) *callFailure {
	if err := l.appendHead(h); err != nil {
		return &callFailure{err: err, unsent: true}
	}
	rest := data
	if len(data) <= inlineBody {
		l.frames, rest = append(l.frames, data...), nil
	}
	err := carrier.ErrWouldBlock
	if len(l.frames) <= oneWrite && rest == nil && !l.single {
		err = l.out.queue(l.frames, time.Time{})
	}
	if err != nil {
		if errors.Is(err, carrier.ErrWouldBlock) {
			err = l.write(rest)
		}
		if err != nil {
			return l.refused(reply, err)
		}
	}
	l.fresh = false
	err = l.read(reply)
	if unwritten := l.out.settle(); unwritten != nil {
		if err != nil {
			return &callFailure{err: unwritten, unsent: true}
		}
		// The reply came before its request was written.
		reply.clean = false
	}
	// Bytes behind the STATUS would be taken for the next reply.
	if l.fr.r != l.fr.w {
		reply.clean = false
	}
	if err != nil {
		return &callFailure{err: err, answered: reply.Message != nil}
	}
	return nil
}

// appendHead puts what precedes the message into l.frames.
func (l *lease) appendHead(h *wire.Headers) error {
	l.frames = l.frames[:0]
	if l.maxReply = h.MaxMessage; l.maxReply == 0 {
		l.maxReply = uint64(l.session.endpoint.limits.MaxMessage)
	}
	switch {
	case !l.fresh:
		l.odd = !l.odd
	case l.single:
		l.frames = wire.AppendVarint(l.frames, uint64(wire.StreamCall))
	default:
		l.frames = wire.AppendVarint(l.frames, uint64(wire.StreamCalls))
	}
	start := len(l.frames)
	l.frames = wire.AppendHeaders(l.frames, h)
	if n := len(l.frames) - start; n > wire.MaxHeader {
		return &Error{Reason: ReasonLimit, Peer: l.session.remoteAddr, NotProcessed: true, Err: &wire.LimitError{What: "HEADERS (metadata and trace context)", Limit: wire.MaxHeader, Got: uint64(n)}}
	}
	return nil
}

// write writes l.frames and rest, the part of the message that is not among them. It may wait for the peer to make room.
func (l *lease) write(rest []byte) error {
	err := l.out.settle()
	if err == nil {
		err = l.out.writeAll(l.frames)
	}
	switch {
	case err != nil || len(rest) == 0:
	case len(rest) <= LeasedMessage:
		err = l.out.writeAll(rest)
	default:
		err = l.out.writeBulk(l.session, rest)
	}
	if err == nil && l.single {
		l.stream.Finish()
	}
	return err
}

// refused reads the reply to a request that could not be written. The request is incomplete,
// so no handler has seen it, but the peer may have sent a refusal.
func (l *lease) refused(reply *Reply, err error) *callFailure {
	if l.read(reply) == nil {
		reply.clean = false
		return nil
	}
	return &callFailure{err: err, unsent: true, answered: reply.Message != nil}
}

// read reads [DATA] STATUS.
func (l *lease) read(reply *Reply) error {
	reply.lease = l
	limit := l.maxReply
	for {
		h, err := l.fr.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errNoStatus
			}
			return err
		}
		switch h.Kind { //nolint:exhaustive // the rest is unknown in a reply
		case wire.KindData:
			if h.Length > limit {
				return &Error{Reason: ReasonLimit, Peer: l.session.remoteAddr, Err: &wire.LimitError{What: "reply", Limit: limit, Got: h.Length}}
			}
			if reply.Message != nil || h.Flags&(wire.FlagCompressed|wire.FlagMore) != 0 {
				return l.session.protocolError("second DATA or unknown flags in a reply")
			}
			body, err := l.fr.body(h.Length)
			if err != nil {
				return err
			}
			reply.Message = l.fr.keep(body, wire.KindStatus)
		case wire.KindStatus:
			// A reply that came while the lease was idle has the other parity.
			if h.Flags&wire.FlagOdd != 0 != l.odd {
				return l.session.protocolError("a second reply to the call before")
			}
			reply.clean = h.Flags&wire.FlagLast == 0
			if h.Length == 0 {
				return nil
			}
			return l.readStatus(reply, h.Length)
		default:
			if h.Flags&wire.FlagCritical != 0 {
				return l.session.protocolError("unknown critical frame in a reply")
			}
			if err := l.fr.skip(h.Length); err != nil {
				return err
			}
		}
	}
}

// readStatus reads the body of a STATUS. It is separate from read to keep the stack small
// on which read waits.
func (l *lease) readStatus(reply *Reply, length uint64) error {
	if length > wire.MaxHeader {
		return &wire.LimitError{What: "STATUS", Limit: wire.MaxHeader, Got: length}
	}
	body, err := l.fr.small(length)
	if err != nil {
		return err
	}
	reply.Status, err = wire.ParseStatus(body)
	return err
}
