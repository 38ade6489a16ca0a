package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/wire"
)

// A peer may open as many streams as were closed, so one whose streams are refused at once
// opens the next ones at once: to refuse 29,000 a second took half a processor, and their
// garbage more. QUIC leaves it to this side when it says that another stream may be opened.
// Of each caller, over all its connections, that is said at once for Limits.RefusalRate streams a second that
// were refused or that broke the rules, and later for those beyond; those that carried nothing count for more.
// Everything else is told as before, and streams that are served are not delayed.
//
// Until then QUIC keeps about 7 KB of each such stream, so what one caller may have of them is bounded too.

// What counts how much in Limits.RefusalRate.
const (
	costRefused = 1 // a stream or call that was answered
	// costWasted is that of a stream that its peer has opened for nothing: it is beyond
	// Limits.StreamsPerProcess, no call came in time, or no further one. To make, keep and end it takes
	// about eight times the time of a refusal.
	costWasted = 8
)

// creditTick is how often credit is given back that is late.
const creditTick = 20 * time.Millisecond

// lateCredit is what a session has not given back yet.
type lateCredit struct {
	mu      sync.Mutex // guards the fields below
	streams []owed
	ended   bool
}

// owed is a stream whose credit returns later, and what it counts.
type owed struct {
	stream *quic.Stream
	cost   int
}

func (l *lateCredit) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.streams) == 0
}

// lenders are the sessions of an endpoint that have late credit.
type lenders struct {
	wake chan struct{} // holds a token when there are some

	mu  sync.Mutex // guards all
	all map[*Session]struct{}
}

// refusal counts a refusal of this cost and reports whether there were more than are free.
func (s *Session) refusal(cost int) (late bool) {
	if s.caller.pace.allows(cost) {
		return false
	}
	s.noteShed("RefusalRate", "more of its calls and streams were refused than Limits.RefusalRate in a second: it may open others in their place later")
	return true
}

// giveCredit lets the peer open a stream in place of this one: later if that has a cost, or
// else at once. If there is no room to remember it, one that was refused waits, and counts in
// Limits.StreamsPerProcess meanwhile; one that was wasted ends the connection, for whoever does that
// so often opens others in the meantime.
func (s *Session) giveCredit(stream *quic.Stream, cost int) {
	if cost == 0 {
		stream.ReleaseStreamCredit()
		return
	}
	switch err := s.keepCredit(stream, cost); {
	case err == nil:
	case cost != costWasted, errors.Is(err, share.ErrSpent): // by others, it may be
		_ = s.caller.pace.wait(s.conn.Context(), cost) // if it fails the connection has ended
		stream.ReleaseStreamCredit()
	default:
		s.close(wire.CodeLimit, "too many streams carried nothing or found no room: wait for replies before opening others (Limits.StreamsPerProcess, Limits.RefusalRate)")
	}
}

// keepCredit remembers to give the credit of a stream back. The error is that of [share.Holder.Take].
func (s *Session) keepCredit(stream *quic.Stream, cost int) error {
	if err := s.noteCredit(stream, cost); err != nil {
		return err
	}
	l := &s.endpoint.lenders
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	l.all[s] = struct{}{}
	return nil
}

func (s *Session) noteCredit(stream *quic.Stream, cost int) error {
	l := &s.late
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil // and there is nobody to give it to
	}
	if err := s.shares.late.Take(1); err != nil {
		return err
	}
	l.streams = append(l.streams, owed{stream, cost})
	return nil
}

// repay gives back what credit may be given back by now and reports whether some is left.
func (s *Session) repay() bool {
	l := &s.late
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.streams) && s.caller.pace.allows(l.streams[n].cost) {
		l.streams[n].stream.ReleaseStreamCredit()
		l.streams[n] = owed{}
		n++
	}
	s.shares.late.Give(int64(n))
	if l.streams = l.streams[n:]; len(l.streams) == 0 {
		l.streams = nil
	}
	return l.streams != nil
}

// dropCredit forgets the late credit of a session that has ended.
func (s *Session) dropCredit() {
	s.late.mu.Lock()
	s.shares.late.Give(int64(len(s.late.streams)))
	s.late.streams, s.late.ended = nil, true
	s.late.mu.Unlock()
	l := &s.endpoint.lenders
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, s)
}

// repayAll gives back late credit while there is some. It is a goroutine of the endpoint.
func (e *Endpoint) repayAll(ctx context.Context) {
	l := &e.lenders
	timer := time.NewTimer(creditTick)
	timer.Stop()
	defer timer.Stop()
	var sessions []*Session
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			timer.Reset(creditTick)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			sessions = sessions[:0]
			l.mu.Lock()
			for s := range l.all {
				sessions = append(sessions, s)
			}
			l.mu.Unlock()
			more = e.repayThese(sessions)
			clear(sessions)
		}
	}
}

// repayThese does so for each of the sessions and reports whether there is some left of any.
func (e *Endpoint) repayThese(sessions []*Session) (more bool) {
	l := &e.lenders
	for _, s := range sessions {
		if s.repay() {
			continue
		}
		l.mu.Lock()
		if s.late.empty() { // and not: has become late since
			delete(l.all, s)
		}
		l.mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all) > 0
}
