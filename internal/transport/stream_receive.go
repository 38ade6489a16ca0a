package transport

import (
	"context"
	"errors"
	"io"

	"github.com/linkmesh/link/internal/wire"
)

// read moves frames from the transport to the queue until the stream ends. It
// never waits for the application: what the peer may send is bounded by the
// credit it was granted and by Limits.Streams.PendingFrames and PendingBytes.
func (st *Stream) read() {
	err := st.readFrames()
	st.fr.release()
	dialed := st.Session.dialed
	st.mu.Lock()
	switch {
	case err == nil || errors.Is(err, io.EOF):
		st.ending.why = io.EOF
	default:
		end := st.Session.streamError(lossBehind(st.stream, err), st.Session.unserved(st.stream.ID()))
		end.NotProcessed = end.NotProcessed && dialed && !st.ending.answered
		st.ending.why = end
	}
	st.wakeLocked()
	st.grant.left = wire.Credit{}
	st.returnLocked()
	finished := st.ending.finished
	st.mu.Unlock()
	// This comes after why is set, which says more than that the stream was reset here.
	switch {
	case err == nil:
		// The STATUS was the last frame.
		st.stream.CancelRead(wire.CodeNone)
	case !errors.Is(err, io.EOF) && !finished:
		// After finish, a reset could take back the STATUS.
		st.ending.refused = st.Session.endRunning(st.out, err)
	}
	if dialed {
		st.settleQueue()
		// END is not the end of the stream.
		st.stream.Finish()
	}
	st.inbox.arrived.Set()
	st.noteEnd()
	st.report()
}

// readFrames reads frames until the stream ends. It returns nil after a STATUS.
func (st *Stream) readFrames() error {
	for {
		h, err := st.fr.header()
		if err != nil {
			return err
		}
		if h.Flags&(wire.FlagCompressed|wire.FlagMore) != 0 {
			return st.Session.protocolError("compressed or fragmented frame")
		}
		if h.Kind == wire.KindData || h.Kind >= wire.KindPattern && h.Kind <= wire.KindPatternMax {
			err = st.readOne(h)
		} else {
			err = st.readOwn(h)
		}
		if err != nil || h.Kind == wire.KindStatus {
			return err
		}
	}
}

// readOne reads a frame for the application.
func (st *Stream) readOne(h wire.FrameHeader) error {
	if err := st.admit(h); err != nil {
		return err
	}
	body, err := st.fr.body(h.Length)
	if err != nil {
		return err
	}
	f := Frame{Kind: h.Kind, Flags: h.Flags, Body: st.fr.own(body)}
	st.mu.Lock()
	take := st.inbox.take
	if take == nil {
		st.inbox.queue = append(st.inbox.queue, f)
		st.inbox.arrived.Set()
		st.mu.Unlock()
		return nil
	}
	st.passedLocked(&f)
	st.mu.Unlock()
	take(f)
	return nil
}

// readOwn reads a frame about the stream itself, or skips one of an unknown kind.
func (st *Stream) readOwn(h wire.FrameHeader) error {
	switch h.Kind { //nolint:exhaustive // the others mean nothing here
	case wire.KindCredit, wire.KindStatus, wire.KindEnd:
	default:
		if h.Flags&wire.FlagCritical != 0 {
			return st.Session.protocolError("unknown critical frame on a stream")
		}
		if h.Length > wire.MaxControl {
			return &wire.LimitError{What: "unknown frame", Limit: wire.MaxControl, Got: h.Length}
		}
		return st.fr.skip(h.Length)
	}
	if h.Length > wire.MaxHeader {
		return &wire.LimitError{What: "frame", Limit: wire.MaxHeader, Got: h.Length}
	}
	body, err := st.fr.body(h.Length)
	if err != nil {
		return err
	}
	switch h.Kind { //nolint:exhaustive // the others have returned above
	case wire.KindCredit:
		credit, err := wire.ParseCredit(body)
		if err != nil {
			return err
		}
		st.addCredit(credit)
	case wire.KindStatus:
		status, err := wire.ParseStatus(body)
		if err != nil {
			return err
		}
		st.mu.Lock()
		st.ending.status, st.ending.answered = &status, true
		st.mu.Unlock()
	default:
		st.mu.Lock()
		again := st.ending.noMore
		st.ending.noMore = true
		st.mu.Unlock()
		if !again {
			st.inbox.arrived.Set()
			st.report()
		}
	}
	return nil
}

// admit uses up credit for a frame, or counts it as an uncredited one. It is called before
// the body is read, so that a peer uses no more of our memory than it was given.
func (st *Stream) admit(h wire.FrameHeader) error {
	if h.Length > uint64(st.maxMessage) {
		return &wire.LimitError{What: "frame", Limit: uint64(st.maxMessage), Got: h.Length}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ending.answered = true
	if st.ending.noMore {
		return st.Session.protocolError("a frame behind END")
	}
	if h.Flags&wire.FlagCredited != 0 {
		if st.grant.left.Messages < 1 || st.grant.left.Bytes < h.Length {
			// A peer that keeps the rules never exceeds its credit. If one stream does, others
			// follow, so the connection ends.
			err := &wire.LimitError{What: "credited frame", Limit: st.grant.left.Bytes, Got: h.Length}
			st.Session.close(wire.CodeLimit, err.Error())
			return err
		}
		st.grant.left.Messages--
		st.grant.left.Bytes -= h.Length
		st.inbox.unread += int(h.Length)
		return nil
	}
	l := &st.Session.endpoint.limits
	if st.inbox.plain >= l.Streams.PendingFrames {
		return &wire.LimitError{What: "frames without credit (Limits.Streams.PendingFrames)", Limit: uint64(l.Streams.PendingFrames), Got: uint64(st.inbox.plain) + 1}
	}
	if size := uint64(st.inbox.pending) + h.Length; size > uint64(l.Streams.PendingBytes) {
		return &wire.LimitError{What: "bytes without credit (Limits.Streams.PendingBytes)", Limit: uint64(l.Streams.PendingBytes), Got: size}
	}
	if err := st.Session.shares.bytes.Take(int64(h.Length) + frameCost); err != nil {
		return noRoom(err)
	}
	st.inbox.plain++
	st.inbox.pending += int(h.Length)
	return nil
}

// settleQueue gives back the room of frames that may never be received, because the handler
// has returned or, if we opened the stream, the peer's side has ended.
func (st *Stream) settleQueue() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.inbox.settled {
		st.inbox.settled = true
		st.Session.shares.bytes.Give(int64(st.inbox.pending + st.inbox.plain*frameCost))
		st.returnLocked()
	}
}

// tookLocked gives back the room of a frame that left the queue.
func (st *Stream) tookLocked(f *Frame) {
	if f.Flags&wire.FlagCredited != 0 {
		st.inbox.unread -= len(f.Body)
		st.returnLocked()
		return
	}
	st.passedLocked(f)
}

// passedLocked gives back the room of a frame that is passed on at once. A credited one keeps its room
// until it is granted again.
func (st *Stream) passedLocked(f *Frame) {
	if f.Flags&wire.FlagCredited != 0 {
		return
	}
	size := int64(len(f.Body))
	st.inbox.plain--
	st.inbox.pending -= len(f.Body)
	if !st.inbox.settled {
		st.Session.shares.bytes.Give(size + frameCost)
	}
}

// Recv returns the next frame. It waits for one until ctx ends. The error is
// io.EOF after the peer's clean end.
func (st *Stream) Recv(ctx context.Context) (Frame, error) {
	for canceled := false; ; {
		st.mu.Lock()
		if len(st.inbox.queue) > 0 {
			f := st.inbox.queue[0]
			st.inbox.queue[0] = Frame{}
			if st.inbox.queue = st.inbox.queue[1:]; len(st.inbox.queue) == 0 {
				st.inbox.queue = nil
			}
			st.tookLocked(&f)
			st.mu.Unlock()
			return f, nil
		}
		end, over := st.endLocked(), st.ending.why != nil
		st.mu.Unlock()
		if end != nil {
			if over {
				st.noteEnd()
			}
			// The next call needs the flag again.
			st.inbox.arrived.Set()
			return Frame{}, end
		}
		if canceled {
			return Frame{}, &Error{Reason: ReasonCanceled, Peer: st.Session.remoteAddr, Err: ended(ctx)}
		}
		select {
		case <-st.inbox.arrived:
		case <-ctx.Done():
			// Look once more: the end of the stream may be what ended ctx.
			canceled = true
		}
	}
}

// Deliver passes the frames of the stream to take, first those that wait for Recv, and calls ended when
// no more come; Recv then returns why. The goroutine that reads the stream calls both, so neither may
// wait, and Deliver calls them itself for what was there before. Deliver may be called once, and Recv
// not again before ended is called.
//
// A credited frame that was passed on counts as credit until as many bytes have been granted again,
// so that they always can be.
func (st *Stream) Deliver(take func(f Frame), ended func()) {
	st.mu.Lock()
	// From the first frame on: take may grant what it gets before Deliver returns.
	st.inbox.delivers = true
	st.mu.Unlock()
	for {
		st.mu.Lock()
		if len(st.inbox.queue) == 0 {
			st.inbox.queue = nil
			st.inbox.take, st.inbox.ended = take, ended
			st.mu.Unlock()
			st.report()
			return
		}
		f := st.inbox.queue[0]
		st.inbox.queue[0] = Frame{}
		st.inbox.queue = st.inbox.queue[1:]
		st.passedLocked(&f)
		st.mu.Unlock()
		take(f)
	}
}

// report tells the receiver of Deliver, once, that no more frames come. mu must not be held.
func (st *Stream) report() {
	st.mu.Lock()
	ended, over := st.inbox.ended, st.ending.why != nil
	if ended == nil || st.inbox.reported || st.endLocked() == nil {
		st.mu.Unlock()
		return
	}
	st.inbox.reported = true
	st.mu.Unlock()
	if over {
		st.noteEnd()
	}
	ended()
}
