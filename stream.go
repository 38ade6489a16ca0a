package link

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// The range of the kinds of frames of patterns.
const (
	firstFrameKind = uint8(wire.KindPattern)
	lastFrameKind  = uint8(wire.KindPatternMax)
)

// Frame is one frame of a stream.
type Frame struct {
	// Kind says what the frame is: the pattern defines what each kind means. Patterns
	// have the kinds from 0x40 to 0x7f; Send refuses all others.
	Kind uint8
	// Credited frames use credit that their receiver granted; see [Stream.Grant].
	// Other frames do not wait, but at most Limits.Streams.PendingFrames of the receiver, with
	// at most its PendingBytes, may wait for Recv; beyond that it resets the stream.
	Credited bool
	// Body belongs to the receiver of the frame.
	Body []byte
}

// Stream is a two-way stream of frames between a caller and a handler. One
// goroutine at a time may send and one may receive; the other methods may be
// called by any. Frames are received one by one ([Stream.Recv]), or as they
// arrive ([Stream.Deliver]).
type Stream struct {
	ctx    context.Context //nolint:containedctx // a stream is a call; it ends the stream
	cancel context.CancelCauseFunc
	raw    *transport.Stream
	route  Route
	client bool
	stop   func() bool
}

// Peer returns the other side.
func (s *Stream) Peer() Peer { return peerOf(s.raw.Session) }

// Context returns the context of the stream, which ends with the stream. On the caller's
// side it has ended once Recv has returned an error. On the handler's side it ends when the
// handler returns or the caller is gone; io.EOF from Recv only tells a handler that the
// caller will send nothing more.
func (s *Stream) Context() context.Context { return s.ctx }

// Draining returns a channel that is closed when the serving node drains: a
// handler should finish, a caller should open a stream elsewhere.
func (s *Stream) Draining() <-chan struct{} { return s.raw.Draining() }

// LastCall returns a channel that is closed, in a handler that is [LongLived], when the
// serving node drains and no other handlers run on it: the handler should finish
// now. For a caller it is the same as Draining.
func (s *Stream) LastCall() <-chan struct{} { return s.raw.Quiet() }

// error gives an error of the transport its code. What ended the stream takes
// precedence over the fact that it has ended.
func (s *Stream) error(what string, err error) error {
	op := what + " " + s.route.String()
	if status := s.raw.Status(); s.client && status != nil && status.Code != 0 {
		e := fromStatus(status, s.Peer().String())
		e.Op = op
		if e.Code == Unimplemented {
			e.Message += proposeRoute(nil, s.route, s.raw.Session, time.Time{})
		}
		return e
	}
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	var te *transport.Error
	if !errors.As(err, &te) {
		return failed(op, err)
	}
	if cause := context.Cause(s.ctx); cause != nil && te.Reason == transport.ReasonCanceled {
		end := s.raw.End()
		if !errors.Is(cause, ErrFinished) || end == nil || errors.Is(end, io.EOF) || !errors.As(end, &te) {
			return &Error{Code: CodeOf(s.ctx.Err()), Op: op, Message: cause.Error(), Peer: s.Peer().String(), Cause: cause}
		}
	}
	e := fromRouter(router.FromTransport(te, discovery.Instance{}))
	e.Op, e.Peer = op, s.Peer().String()
	return e
}

// Send sends one frame. A credited frame first waits for credit. Send blocks until the
// transport has taken the frame, which may last as long as the peer does not read what
// came before, or until the context of the stream ends: a handler whose peers may be slow
// needs a context with an end. Send uses Body until it returns and does not keep it.
//
// Errors: InvalidArgument if Kind is out of range; ResourceExhausted if the body
// is larger than the peer accepts; what the handler returned, if it has, for which
// Send waits a second at most; Unavailable if the stream is lost; Canceled and
// DeadlineExceeded.
func (s *Stream) Send(f Frame) error {
	if f.Kind < firstFrameKind || f.Kind > lastFrameKind {
		return failed("send on "+s.route.String(), Errorf(InvalidArgument, "frame kind %#x, want %#x to %#x", f.Kind, firstFrameKind, lastFrameKind))
	}
	if limit := s.peerTakes(); uint64(len(f.Body)) > limit {
		return failed("send on "+s.route.String(), Errorf(ResourceExhausted,
			"frame of %d bytes exceeds the MaxMessage of %d bytes of the peer: send it in parts, or raise MaxMessage there", len(f.Body), limit))
	}
	// The end of the context resets the stream a moment later.
	if s.ctx.Err() != nil {
		return s.error("send on", &transport.Error{Reason: transport.ReasonCanceled, Err: context.Cause(s.ctx)})
	}
	var flags wire.Flags
	if f.Credited {
		flags = wire.FlagCredited
	}
	err := s.raw.Send(s.ctx, transport.Frame{Kind: wire.Kind(f.Kind), Flags: flags, Body: f.Body})
	if err == nil {
		return nil
	}
	return s.error("send on", err)
}

// peerTakes returns the size of the largest frame that the peer accepts: what it announced for this stream or for the
// route, or else in its SETUP.
func (s *Stream) peerTakes() uint64 {
	if !s.client {
		if m := s.raw.Headers.MaxMessage; m > 0 {
			return m
		}
	} else if r, ok := s.raw.Session.Route(uint64(s.route.Kind), s.route.Name); ok && r.MaxMessage > 0 {
		return r.MaxMessage
	}
	return s.raw.Session.Remote().MaxMessage
}

// Await blocks until a credited frame of that many bytes can be sent without waiting for
// credit, or until ctx ends. The end of ctx does not end the stream, so that something else
// can be sent then. Only the goroutine that sends may call Await.
//
// Errors: ctx's, or what ended the stream.
func (s *Stream) Await(ctx context.Context, bytes int) error {
	if c := s.raw.Credit(); c.Messages > 0 && c.Bytes >= uint64(max(bytes, 0)) {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	if err := s.raw.Await(ctx, uint64(max(bytes, 0))); err != nil {
		return s.error("send on", err)
	}
	return nil
}

// Recv returns the next frame, waiting for it. The error is io.EOF when the peer has
// ended its side cleanly; for a caller this means that the handler returned nil. If the
// peer does not serve the route, the error names the nearest route that it does serve, for
// which the first such error of a connection may wait 100 ms, whatever ctx says.
//
// Errors: what the handler returned; Unavailable if the stream is lost;
// Canceled and DeadlineExceeded.
func (s *Stream) Recv() (Frame, error) {
	f, err := s.raw.Recv(s.ctx)
	if err == nil {
		return received(f), nil
	}
	if s.client && errors.Is(err, io.EOF) && s.raw.Status() == nil {
		return Frame{}, &Error{Code: Unavailable, Op: "receive on " + s.route.String(), Message: "the stream ended before its status", Peer: s.Peer().String()}
	}
	return Frame{}, s.error("receive on", err)
}

// Deliver passes the frames of the stream to take as they arrive, in place of Recv: first those that
// arrived before, and then each on the goroutine that reads the stream, which saves a queue and a
// goroutine in between. When no more frames come, it calls ended; from then on Recv may be called
// again, and returns why. The calls of take and ended follow one another. Deliver may be called
// once, and returns when it has passed on what was there.
//
// Neither function may wait for anything, because nothing more is received on the stream meanwhile:
// take puts the frame where another goroutine finds it. What it keeps should be bounded by the credit
// that it grants. A credited frame counts as credit of the stream until as many bytes have been granted
// again, so there is always room for that. Frames without credit count only until take has got them.
func (s *Stream) Deliver(take func(f Frame), ended func()) {
	s.raw.Deliver(func(f transport.Frame) { take(received(f)) }, ended)
}

// received returns a frame as patterns see it.
func received(f transport.Frame) Frame {
	return Frame{Kind: uint8(f.Kind), Credited: f.Flags&wire.FlagCredited != 0, Body: f.Body}
}

// Recycle gives back the body of a frame that was received, for use by later frames.
// Nothing may refer to it afterwards. It is worthwhile for large bodies in large numbers;
// bodies that are not given back are garbage as usual.
func (s *Stream) Recycle(body []byte) { transport.PutBuffer(body) }

// Grant lets the peer send that many more credited frames and bytes. It does not
// block. The error is ResourceExhausted if the streams of the connection together would
// have granted more than 24 MiB, or those of all connections of the peer more than its
// share of Limits.CreditBytes, in which 8 KiB of each stream do not count. What was sent
// counts until it is received, or, if it was received by [Stream.Deliver], granted again.
func (s *Stream) Grant(messages, bytes int) error {
	if err := checkCredit(messages, bytes); err != nil {
		return err
	}
	if err := s.raw.Grant(wire.Credit{Messages: uint64(messages), Bytes: uint64(bytes)}); err != nil {
		return s.error("grant on", err)
	}
	return nil
}

// checkCredit returns an error for an amount of credit that cannot be granted.
func checkCredit(messages, bytes int) error {
	if messages < 0 || bytes < 0 || uint64(messages) > wire.MaxVarint || uint64(bytes) > wire.MaxVarint {
		return Errorf(InvalidArgument, "credit of %d frames and %d bytes, want 0 to 2^62 - 1", messages, bytes)
	}
	return nil
}

// Credit returns how many frames and bytes may be sent without waiting.
func (s *Stream) Credit() (messages, bytes uint64) {
	c := s.raw.Credit()
	return c.Messages, c.Bytes
}

// CloseSend ends this side cleanly: the peer's Recv returns io.EOF after the frames
// that were sent before. Receiving and Grant still work. A handler ends its side by
// returning.
func (s *Stream) CloseSend() error {
	if err := s.raw.CloseSend(); err != nil {
		return s.error("close", err)
	}
	return nil
}

// Close ends a caller's stream at once; frames in flight are lost. Closing a stream
// that has ended does nothing.
func (s *Stream) Close() {
	if s.client {
		s.cancel(ErrFinished)
	}
}
