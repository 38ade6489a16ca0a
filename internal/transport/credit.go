package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// A peer may open a stream for each one that was closed, so a peer whose streams are refused
// at once opens the next ones at once: refusing 29,000 per second took half a processor, and
// their garbage more. QUIC lets this side choose when it returns the credit for a stream.
// For streams that were refused or broke the rules, it returns at once for Limits.Streams.RefusalRate
// streams per second of each caller, over all its connections, and later beyond that.
// Streams that carried nothing count for more. The credit of all other streams, such as those
// that were served, is not delayed.
//
// QUIC keeps about 7 KB per stream until the credit returns, so the number of such streams of
// one caller is bounded too.

// The costs that count toward Limits.Streams.RefusalRate.
const (
	// costRefused is the cost of a stream or call that was answered with a refusal.
	costRefused = 1
	// costWasted is the cost of a stream that its peer opened for nothing: it was beyond
	// Limits.Streams.PerProcess, or no call, or no further call, came in time. Opening, keeping
	// and ending it takes about eight times as long as a refusal.
	costWasted = 8
)

// creditTick is the interval at which late credit is returned.
const creditTick = 20 * time.Millisecond

// lateCredit is the credit that a session has not returned yet.
type lateCredit struct {
	mu      sync.Mutex // guards the fields below
	streams []owed
	ended   bool
}

// owed is a stream whose credit returns later, and its cost.
type owed struct {
	stream carrier.Stream
	cost   int
}

func (l *lateCredit) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.streams) == 0
}

// lenders holds the sessions of an endpoint that have late credit.
type lenders struct {
	// wake is set when the first session is added to all.
	wake notify.Flag

	mu  sync.Mutex // guards all
	all map[*Session]struct{}
}

// refusal counts a refusal of this cost and reports whether it is beyond Limits.Streams.RefusalRate.
func (s *Session) refusal(cost int) (late bool) {
	if s.caller.pace.allows(cost) {
		return false
	}
	s.noteShed("Streams.RefusalRate", "more of its calls and streams were refused than Limits.Streams.RefusalRate allows in a second; new ones have to wait")
	return true
}

// giveCredit lets the peer open a stream in place of this one: at once if cost is zero, and
// later otherwise. If there is no room to keep the credit for later, giveCredit blocks for a
// refused stream, which counts toward Limits.Streams.PerProcess meanwhile, and closes the
// connection for a wasted one: a peer that wastes so many keeps opening others meanwhile.
func (s *Session) giveCredit(stream carrier.Stream, cost int) {
	if cost == 0 {
		stream.ReleaseCredit()
		return
	}
	switch err := s.keepCredit(stream, cost); {
	case err == nil:
	case cost != costWasted, errors.Is(err, share.ErrSpent):
		// With ErrSpent, other peers may have used up the room. wait fails only if the
		// connection has ended.
		_ = s.caller.pace.wait(s.ctx, cost)
		stream.ReleaseCredit()
	default:
		s.close(wire.CodeLimit, "too many streams carried nothing or found no room: wait for replies before opening others (Limits.Streams.PerProcess, Limits.Streams.RefusalRate)")
	}
}

// keepCredit keeps the credit of a stream, to be returned later. It returns the error of
// [share.Holder.Take].
func (s *Session) keepCredit(stream carrier.Stream, cost int) error {
	if err := s.noteCredit(stream, cost); err != nil {
		return err
	}
	l := &s.endpoint.lenders
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		l.wake.Set()
	}
	l.all[s] = struct{}{}
	return nil
}

func (s *Session) noteCredit(stream carrier.Stream, cost int) error {
	l := &s.serving.late
	l.mu.Lock()
	defer l.mu.Unlock()
	// After the end of the session there is no peer to return the credit to.
	if l.ended {
		return nil
	}
	if err := s.shares.late.Take(1); err != nil {
		return err
	}
	l.streams = append(l.streams, owed{stream, cost})
	return nil
}

// repay returns the late credit that the rate allows by now and reports whether some is left.
func (s *Session) repay() bool {
	l := &s.serving.late
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.streams) && s.caller.pace.allows(l.streams[n].cost) {
		l.streams[n].stream.ReleaseCredit()
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
	s.serving.late.mu.Lock()
	s.shares.late.Give(int64(len(s.serving.late.streams)))
	s.serving.late.streams, s.serving.late.ended = nil, true
	s.serving.late.mu.Unlock()
	l := &s.endpoint.lenders
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, s)
}

// repayAll returns late credit every creditTick while there is some. It runs as a goroutine
// of the endpoint until ctx ends.
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

// repayThese calls repay for each session and reports whether any session of the endpoint
// still has late credit.
func (e *Endpoint) repayThese(sessions []*Session) (more bool) {
	l := &e.lenders
	for _, s := range sessions {
		if s.repay() {
			continue
		}
		l.mu.Lock()
		// Credit may have become late since repay returned.
		if s.serving.late.empty() {
			delete(l.all, s)
		}
		l.mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all) > 0
}
