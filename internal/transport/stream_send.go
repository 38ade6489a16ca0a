package transport

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// Grant lets the peer send more credited frames. It does not block: if the peer has no room
// for the CREDIT frame, it is sent once there is.
func (st *Stream) Grant(c wire.Credit) error {
	st.mu.Lock()
	if st.ending.why != nil {
		defer st.mu.Unlock()
		return nil
	}
	again := 0
	if st.inbox.delivers {
		again = int(min(uint64(st.inbox.unread), c.Bytes))
	}
	st.inbox.unread -= again
	if need := st.owedLocked() + min(c.Bytes, maxCredit+1); need > st.grant.reserved {
		if err := st.Session.reserve(st.grant.reserved, need); err != nil {
			st.inbox.unread += again
			st.mu.Unlock()
			return err
		}
		st.grant.reserved = need
	}
	// The peer caps its count of messages in the same way.
	st.grant.left.Messages += min(c.Messages, wire.MaxVarint-st.grant.left.Messages)
	st.grant.left.Bytes += c.Bytes
	st.grant.unsaid.Messages += min(c.Messages, wire.MaxVarint-st.grant.unsaid.Messages)
	st.grant.unsaid.Bytes += min(c.Bytes, wire.MaxVarint-st.grant.unsaid.Bytes)
	st.mu.Unlock()
	st.writing.untold.Store(true)
	// If the peer has sent everything, its last frames may still be received.
	if err := st.tell(); !isAllRead(err) {
		return err
	}
	return nil
}

// isAllRead reports whether the peer has stopped reading because it has sent everything.
func isAllRead(err error) bool {
	stopped, ok := errors.AsType[*Error](err)
	return ok && stopped.Reason == ReasonReset && stopped.Code == wire.CodeNone
}

// tell tells the peer what it was granted. If another goroutine is writing, that one does it
// afterwards.
func (st *Stream) tell() error {
	for st.writing.untold.Load() && st.writing.mu.TryLock() {
		st.writing.untold.Store(false)
		st.mu.Lock()
		c := st.grant.unsaid
		st.grant.unsaid = wire.Credit{}
		// Nothing may follow a STATUS.
		over := st.ending.finished
		st.mu.Unlock()
		if c == (wire.Credit{}) || over {
			st.writing.mu.Unlock()
			continue
		}
		st.writing.frames = wire.AppendCredit(st.writing.frames[:0], c)
		err := st.out.tryWrite(st.writing.frames)
		if errors.Is(err, carrier.ErrWouldBlock) {
			return st.tellLater()
		}
		st.writing.mu.Unlock()
		if err != nil {
			return st.writeError(err)
		}
	}
	return nil
}

// tellLater writes st.writing.frames in a goroutine of its own, once the peer has made room. It takes
// over the lock of writing, which the caller holds.
func (st *Stream) tellLater() error {
	run := func(context.Context) {
		// write fails only if the stream has ended.
		_ = st.out.write(st.writing.frames)
		st.unlock()
	}
	if !st.Session.group.Go(run) {
		st.writing.mu.Unlock()
		return st.Session.lost(nil, false)
	}
	return nil
}

// unlock lets others write, and tells the peer what it was granted meanwhile.
func (st *Stream) unlock() {
	st.writing.mu.Unlock()
	// tell fails only if the stream has ended, which others notice.
	if st.writing.untold.Load() {
		_ = st.tell()
	}
}

func (st *Stream) addCredit(c wire.Credit) {
	st.mu.Lock()
	defer st.mu.Unlock()
	before := st.credit.left
	st.credit.left.Messages += min(c.Messages, wire.MaxVarint-st.credit.left.Messages)
	st.credit.left.Bytes += min(c.Bytes, wire.MaxVarint-st.credit.left.Bytes)
	if st.credit.left != before && has(st.credit.left, st.credit.wanted) {
		st.wakeLocked()
	}
}

// has reports whether credit covers what is needed.
func has(credit, need wire.Credit) bool {
	return credit.Messages >= need.Messages && credit.Bytes >= need.Bytes
}

// wakeLocked wakes the goroutines that wait for credit.
func (st *Stream) wakeLocked() {
	st.credit.more.All()
	st.credit.wanted = allCredit()
}

// waitLocked returns a channel that is closed when there may be as much credit as needed.
func (st *Stream) waitLocked(need wire.Credit) <-chan struct{} {
	st.credit.wanted.Messages = min(st.credit.wanted.Messages, need.Messages)
	st.credit.wanted.Bytes = min(st.credit.wanted.Bytes, need.Bytes)
	return st.credit.more.C()
}

// allCredit returns the most credit that there can be.
func allCredit() wire.Credit { return wire.Credit{Messages: wire.MaxVarint, Bytes: wire.MaxVarint} }

// frameHeaderRoom is the most bytes that the header of a frame takes.
const frameHeaderRoom = 17

// Send sends one frame. With [wire.FlagCredited] it first waits for credit. It
// blocks until the transport has taken the frame or ctx ends; a frame that is
// cut short by ctx ends the stream. If the peer has ended the stream, Send waits for at most
// statusMost for the STATUS that says why. Send does not retain the body. It does not copy a
// large one, which thus is in memory only once while it waits for the peer.
func (st *Stream) Send(ctx context.Context, f Frame) error {
	if f.Flags&wire.FlagCredited != 0 {
		if err := st.takeCredit(ctx, uint64(len(f.Body))); err != nil {
			return err
		}
	}
	beside, behind := f.Body, []byte(nil)
	if len(f.Body) > inlineBody {
		beside, behind = nil, f.Body
	}
	err := st.writeWith(ctx, behind, true, func(b []byte) []byte {
		if need := len(beside) + frameHeaderRoom; cap(b) < need {
			b = GetBuffer(need)
		}
		b = wire.AppendFrameHeader(b, wire.FrameHeader{Kind: f.Kind, Flags: f.Flags, Length: uint64(len(f.Body))})
		return append(b, beside...)
	})
	if err != nil && st.Session.dialed && isAllRead(err) {
		st.awaitStatus(ctx)
		return st.writeError(err)
	}
	return err
}

// statusMost is how long a sender waits for the STATUS of a peer that has stopped reading. The peer
// sends both at the same time, so the wait is long only if a packet or two are lost.
const statusMost = time.Second

// awaitStatus waits for the end of a stream that the peer has stopped reading. Its STATUS says why.
func (st *Stream) awaitStatus(ctx context.Context) {
	late := time.NewTimer(statusMost)
	defer late.Stop()
	for {
		st.mu.Lock()
		if st.ending.why != nil {
			st.mu.Unlock()
			return
		}
		more := st.waitLocked(allCredit())
		st.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return
		case <-late.C:
			return
		}
	}
}

func (st *Stream) takeCredit(ctx context.Context, size uint64) error {
	return st.awaitCredit(ctx, wire.Credit{Messages: 1, Bytes: size}, true)
}

// Await waits until there is credit for a frame of size bytes, and uses none of it.
// The stream is not affected if ctx ends first.
func (st *Stream) Await(ctx context.Context, size uint64) error {
	return st.awaitCredit(ctx, wire.Credit{Messages: 1, Bytes: size}, false)
}

func (st *Stream) awaitCredit(ctx context.Context, need wire.Credit, take bool) error {
	for {
		st.mu.Lock()
		if has(st.credit.left, need) {
			if take {
				st.credit.left.Messages -= need.Messages
				st.credit.left.Bytes -= need.Bytes
			}
			st.mu.Unlock()
			return nil
		}
		if end := st.ending.why; end != nil {
			st.mu.Unlock()
			st.noteEnd()
			if errors.Is(end, io.EOF) {
				end = &Error{Reason: ReasonReset, Peer: st.Session.remoteAddr, Detail: "the peer ended the stream"}
			}
			return end
		}
		more := st.waitLocked(need)
		st.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return &Error{Reason: ReasonCanceled, Peer: st.Session.remoteAddr, Detail: "while waiting for credit", Err: ended(ctx)}
		}
	}
}

// Credit returns the credit that is available without waiting.
func (st *Stream) Credit() wire.Credit {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.credit.left
}

// write sends the frames that appendFrames appends. If there is room, it does not wait for
// earlier frames to leave.
func (st *Stream) write(ctx context.Context, appendFrames func([]byte) []byte) error {
	return st.writeWith(ctx, nil, false, appendFrames)
}

// writeWith is write with a body behind the frames, which completes the last of them. If paced
// is set, it may wait for earlier frames to leave.
func (st *Stream) writeWith(ctx context.Context, body []byte, paced bool, appendFrames func([]byte) []byte) error {
	st.writing.mu.Lock()
	defer st.unlock()
	st.writing.frames = appendFrames(st.writing.frames[:0])
	defer st.shrink()
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { st.Cancel(wire.CodeCanceled) })
		defer stop()
	}
	write := st.out.writeAll
	if paced && !st.out.mayQueue(len(st.writing.frames)+len(body)) && len(body) == 0 {
		write = st.out.write
	}
	err := write(st.writing.frames)
	if err == nil && len(body) > 0 {
		err = st.out.write(body)
	}
	if err != nil && ctx.Err() != nil {
		return &Error{Reason: ReasonCanceled, Peer: st.Session.remoteAddr, Err: ended(ctx)}
	}
	return st.writeError(err)
}

// writeError returns why a write failed with err: the error with which the stream ended, if it
// did, and otherwise err as an [Error]. It returns nil if err is nil.
func (st *Stream) writeError(err error) error {
	if err == nil {
		return nil
	}
	if end := st.End(); end != nil && !errors.Is(end, io.EOF) {
		return end
	}
	return st.Session.streamError(err, false)
}

// shrink recycles a large buffer: an idle stream holds none.
func (st *Stream) shrink() {
	if cap(st.writing.frames) > readBuffer {
		PutBuffer(st.writing.frames)
		st.writing.frames = nil
	}
}
