package transport

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// terms says how many offenses of a debtor are forgiven and how long its pauses become.
//
// A peer that breaks the rules of link/1 loses its connection. Without a further
// consequence it would dial again at once, and a handshake costs this side as much as the
// offense. Each connection that is cut off is therefore charged to the peer's socket, which
// is one process, and to what the peer can hide behind: its identity or, where peers choose
// their names, its host. A debtor that was charged more often than the terms forgive is not
// admitted for a while, and then one connection at a time.
//
// A process that is merely faulty has one socket and is stopped there, so that its neighbors
// notice nothing. A process that takes a new port each time is stopped with its host or its
// identity, for a shorter time, because others are affected. Their open connections stay.
type terms struct {
	// free is how many connections may be cut off without a consequence.
	free float64
	// every is the time after which one of them is forgotten.
	every time.Duration
	// most is the longest pause.
	most time.Duration
}

//nolint:gochecknoglobals // constants
var (
	socketTerms = terms{free: 4, every: 15 * time.Second, most: 64 * time.Second}
	sharedTerms = terms{free: 32, every: time.Second, most: 8 * time.Second}
)

const (
	// firstPause is the length of the first pause. It doubles with each offense after a pause.
	firstPause = time.Second
	// trialEvery is the interval at which connections of a debtor are admitted after a pause,
	// until all its offenses are forgotten.
	trialEvery = 250 * time.Millisecond
	// maxDebtors bounds the table. Getting into it takes a handshake and an offense.
	maxDebtors = 4096
)

// debtor is a socket, a host or an identity that is charged. The other fields are zero.
type debtor struct {
	socket netip.AddrPort
	place  netip.Prefix
	name   string
}

func (d debtor) terms() *terms {
	if d.socket.IsValid() {
		return &socketTerms
	}
	return &sharedTerms
}

func (d debtor) String() string {
	switch {
	case d.socket.IsValid():
		return d.socket.String()
	case d.place.IsValid():
		return d.place.String()
	}
	return d.name
}

// debt is what is held against a debtor.
type debt struct {
	// left is how many more offenses had no consequence at the time at.
	left float64
	at   time.Time
	// pauses counts the pauses in a row.
	pauses int
	// paused is when the last pause ends.
	paused time.Time
	// next is when the next connection is admitted.
	next time.Time
}

// debts holds the debts of all debtors of an endpoint.
type debts struct {
	mu sync.Mutex // guards of
	of map[debtor]*debt
}

// settle forgets offenses that are old enough and reports whether none are left.
func (d *debt) settle(t *terms, now time.Time) bool {
	if past := now.Sub(d.at); past > 0 {
		d.left, d.at = min(t.free, d.left+past.Seconds()/t.every.Seconds()), now
	}
	if d.left < t.free {
		return false
	}
	d.pauses = 0
	return true
}

// charge counts an offense of who.
func (b *debts) charge(who debtor, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, d := who.terms(), b.of[who]
	if d == nil {
		b.makeRoomLocked(now)
		d = &debt{left: t.free, at: now}
		b.of[who] = d
	}
	d.settle(t, now)
	switch {
	case d.left >= 1:
		d.left--
	case now.Before(d.paused):
		// The connection began before the pause.
	default:
		pause := t.most
		if d.pauses < 16 {
			pause = min(pause, firstPause<<d.pauses)
		}
		d.pauses++
		d.paused = now.Add(pause)
		// Nothing is forgotten during a pause.
		d.at, d.next = d.paused, d.paused
	}
}

// makeRoomLocked makes room in a full table. It drops debtors whose offenses are forgotten
// or, if there are none, arbitrary ones.
func (b *debts) makeRoomLocked(now time.Time) {
	if len(b.of) < maxDebtors {
		return
	}
	b.sweepLocked(now)
	for who := range b.of {
		if len(b.of) < maxDebtors {
			return
		}
		delete(b.of, who)
	}
}

// sweep drops debtors whose offenses are forgotten.
func (b *debts) sweep(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweepLocked(now)
}

func (b *debts) sweepLocked(now time.Time) {
	for who, d := range b.of {
		if d.settle(who.terms(), now) {
			delete(b.of, who)
		}
	}
}

// paused reports whether any of these debtors may not connect now.
func (b *debts) paused(now time.Time, all ...debtor) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, who := range all {
		if d := b.of[who]; d != nil && now.Before(d.next) {
			return true
		}
	}
	return false
}

// admit returns an error if any of these debtors may not connect now. Otherwise it counts a
// connection of each.
func (b *debts) admit(now time.Time, all ...debtor) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, who := range all {
		if d := b.of[who]; d != nil && now.Before(d.next) {
			return &pausedError{who, d.next.Sub(now)}
		}
	}
	for _, who := range all {
		if d := b.of[who]; d != nil && !d.settle(who.terms(), now) && d.pauses > 0 {
			d.next = now.Add(trialEvery)
		}
	}
	return nil
}

// pausedError is the error for a connection of a debtor that may not connect now.
type pausedError struct {
	who  debtor
	left time.Duration
}

// Error implements error.
func (e *pausedError) Error() string {
	return fmt.Sprintf("connections from %v broke the rules of link/1 too often; no new one is accepted for %v", e.who, e.left.Round(time.Millisecond))
}

// atAddress returns the debtors that are charged for what comes from an address, whatever
// the identity.
func atAddress(addr netip.AddrPort) (socket, host debtor) {
	return debtor{socket: addr}, debtor{place: share.PlaceOf(addr.Addr())}
}

// behind returns the debtor that is charged together with the socket for what the session
// does: the peer's identity or, if the peer chose its name, its host.
func (s *Session) behind() debtor {
	key := s.shares.conns.Key()
	if key.Place == "" {
		return debtor{name: key.Name}
	}
	_, host := atAddress(s.site.addr)
	return host
}

// charge charges the peer of an accepted session if its connection ended with an offense.
func (s *Session) charge(why error, now time.Time) {
	if s.dialed || !isOffense(why) {
		return
	}
	b := &s.endpoint.gate.debts
	b.charge(debtor{socket: s.site.addr}, now)
	b.charge(s.behind(), now)
}

// admitIdentity returns an error if the peer of a session, which is known only after its
// handshake, may not connect now. Its socket and host are then charged for the useless
// handshake, so that the gate refuses later ones before they begin.
func (s *Session) admitIdentity(now time.Time) error {
	who := s.behind()
	// The gate has already admitted the host.
	if who.name == "" {
		return nil
	}
	b := &s.endpoint.gate.debts
	err := b.admit(now, who)
	if err != nil {
		socket, host := atAddress(s.site.addr)
		b.charge(socket, now)
		b.charge(host, now)
	}
	return err
}

// lateSetup is the reason for closing a connection without a SETUP in time. It is not an
// offense, because the peer, or this node, may just be busy.
const lateSetup = "no SETUP in time"

// isOffense reports whether a connection ended because the peer broke the rules of link/1
// or of what carries it.
func isOffense(why error) bool {
	end, ok := errors.AsType[*carrier.EndError](why)
	if !ok || end.Remote {
		return false
	}
	switch end.End { //nolint:exhaustive // no other end is the fault of the peer
	case carrier.EndClosed:
		return (end.Code == wire.CodeProtocol || end.Code == wire.CodeLimit) && end.Reason != lateSetup
	case carrier.EndViolated:
		return true
	}
	return false
}
