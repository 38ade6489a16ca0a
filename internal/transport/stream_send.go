package transport

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/wire"
)

// Grant lets the peer send more credited frames. It does not block: if the peer has no room
// for the CREDIT frame, it is sent once there is.
func (st *Stream) Grant(c wire.Credit) error {
	st.mu.Lock()
	if st.end != nil {
		defer st.mu.Unlock()
		return nil
	}
	if need := st.owedLocked() + min(c.Bytes, maxCredit+1); need > st.reserved {
		if err := st.Session.reserve(st.reserved, need); err != nil {
			st.mu.Unlock()
			return err
		}
		st.reserved = need
	}
	// The peer caps its count of messages in the same way.
	st.granted.Messages += min(c.Messages, wire.MaxVarint-st.granted.Messages)
	st.granted.Bytes += c.Bytes
	st.unsaid.Messages += min(c.Messages, wire.MaxVarint-st.unsaid.Messages)
	st.unsaid.Bytes += min(c.Bytes, wire.MaxVarint-st.unsaid.Bytes)
	st.mu.Unlock()
	st.untold.Store(true)
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
	for st.untold.Load() && st.writeMu.TryLock() {
		st.untold.Store(false)
		st.mu.Lock()
		c := st.unsaid
		st.unsaid = wire.Credit{}
		// Nothing may follow a STATUS.
		over := st.finished
		st.mu.Unlock()
		if c == (wire.Credit{}) || over {
			st.writeMu.Unlock()
			continue
		}
		st.frames = wire.AppendCredit(st.frames[:0], c)
		err := st.out.tryWrite(st.frames)
		if errors.Is(err, quic.ErrWouldBlock) {
			return st.tellLater()
		}
		st.writeMu.Unlock()
		if err != nil {
			return st.writeError(err)
		}
	}
	return nil
}

// tellLater writes st.frames in a goroutine of its own, once the peer has made room. It takes
// over writeMu, which the caller holds.
func (st *Stream) tellLater() error {
	run := func(context.Context) {
		// write fails only if the stream has ended.
		_ = st.out.write(st.frames)
		st.unlock()
	}
	if !st.Session.group.Go(run) {
		st.writeMu.Unlock()
		return st.Session.lost(nil, false)
	}
	return nil
}

// unlock lets others write, and tells the peer what it was granted meanwhile.
func (st *Stream) unlock() {
	st.writeMu.Unlock()
	// tell fails only if the stream has ended, which others notice.
	if st.untold.Load() {
		_ = st.tell()
	}
}

func (st *Stream) addCredit(c wire.Credit) {
	st.mu.Lock()
	defer st.mu.Unlock()
	before := st.credit
	st.credit.Messages += min(c.Messages, wire.MaxVarint-st.credit.Messages)
	st.credit.Bytes += min(c.Bytes, wire.MaxVarint-st.credit.Bytes)
	if st.credit != before && has(st.credit, st.wanted) {
		st.wakeLocked()
	}
}

// has reports whether credit covers what is needed.
func has(credit, need wire.Credit) bool {
	return credit.Messages >= need.Messages && credit.Bytes >= need.Bytes
}

// wakeLocked wakes the goroutines that wait for credit.
func (st *Stream) wakeLocked() {
	st.credited.All()
	st.wanted = allCredit()
}

// waitLocked returns a channel that is closed when there may be as much credit as needed.
func (st *Stream) waitLocked(need wire.Credit) <-chan struct{} {
	st.wanted.Messages = min(st.wanted.Messages, need.Messages)
	st.wanted.Bytes = min(st.wanted.Bytes, need.Bytes)
	return st.credited.C()
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
		if st.end != nil {
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
		if has(st.credit, need) {
			if take {
				st.credit.Messages -= need.Messages
				st.credit.Bytes -= need.Bytes
			}
			st.mu.Unlock()
			return nil
		}
		if end := st.end; end != nil {
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
	return st.credit
}

// write sends the frames that appendFrames appends. If there is room, it does not wait for
// earlier frames to leave.
func (st *Stream) write(ctx context.Context, appendFrames func([]byte) []byte) error {
	return st.writeWith(ctx, nil, false, appendFrames)
}

// writeWith is write with a body behind the frames, which completes the last of them. If paced
// is set, it may wait for earlier frames to leave.
func (st *Stream) writeWith(ctx context.Context, body []byte, paced bool, appendFrames func([]byte) []byte) error {
	st.writeMu.Lock()
	defer st.unlock()
	st.frames = appendFrames(st.frames[:0])
	defer st.shrink()
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { st.Cancel(wire.CodeCanceled) })
		defer stop()
	}
	write := st.out.writeAll
	if paced && !st.out.mayQueue(len(st.frames)+len(body)) && len(body) == 0 {
		write = st.out.write
	}
	err := write(st.frames)
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
	if cap(st.frames) > readBuffer {
		PutBuffer(st.frames)
		st.frames = nil
	}
}
