package transport

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/wire"
)

// A peer that breaks the rules of link/1 loses its connection. If nothing followed, it
// would dial again at once, and a handshake costs this side as much as the offense. So each
// connection that is cut off is charged to the peer's socket, which is one process, and to
// what it can hide behind: its identity or, where names are free, its host. A debtor that was
// charged more often than the terms forgive is not let in for a while, and then one
// connection at a time.
//
// A process that is merely wrong has one socket and is stopped there, so that its neighbors
// notice nothing. One that takes a new port each time is stopped with its host or its
// identity, for a shorter time, because others pay for it: what they have open stays.
type terms struct {
	free  float64       // connections cut off that have no consequence
	every time.Duration // for which one of them is forgotten
	most  time.Duration // how long a pause may become
}

//nolint:gochecknoglobals // constants
var (
	socketTerms = terms{free: 4, every: 15 * time.Second, most: 64 * time.Second}
	sharedTerms = terms{free: 32, every: time.Second, most: 8 * time.Second}
)

const (
	// firstPause doubles with each offense after a pause.
	firstPause = time.Second
	// trialEvery is how far apart connections are admitted of one who had to pause, until
	// everything is forgotten.
	trialEvery = 250 * time.Millisecond
	// maxDebtors bounds the table. Getting into it takes a handshake and an offense.
	maxDebtors = 4096
)

// debtor is who is charged: a socket, a host or an identity. The other fields are zero.
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
	left   float64   // offenses that have no consequence
	at     time.Time // when left was counted
	pauses int       // in a row
	paused time.Time // until when
	next   time.Time // when a connection is admitted
}

// debts are those of an endpoint.
type debts struct {
	mu sync.Mutex // guards of
	of map[debtor]*debt
}

// settle forgets what lies far enough behind and reports whether that is all.
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

// charge counts an offense.
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
	case now.Before(d.paused): // the connection began before the pause
	default:
		pause := t.most
		if d.pauses < 16 {
			pause = min(pause, firstPause<<d.pauses)
		}
		d.pauses++
		d.paused = now.Add(pause)
		d.at, d.next = d.paused, d.paused // nothing is forgotten during a pause
	}
}

// makeRoomLocked forgets what may be forgotten if the table is full, and if there is
// nothing, anybody.
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

// sweep forgets those whose offenses lie far enough behind.
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

// paused reports whether no connection is taken from one of these.
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

// admit says why no connection is taken from one of these, or takes it into account.
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

// pausedError is why a connection is not taken.
type pausedError struct {
	who  debtor
	left time.Duration
}

// Error implements error.
func (e *pausedError) Error() string {
	return fmt.Sprintf("connections of %v were ended for breaking the rules of link/1 too often; none is taken for %v", e.who, e.left.Round(time.Millisecond))
}

// atAddress are those who are charged for what comes from an address, whoever it is.
func atAddress(addr netip.AddrPort) (socket, host debtor) {
	return debtor{socket: addr}, debtor{place: share.PlaceOf(addr.Addr())}
}

// behind is who is charged with the socket for what the session does: its host, if the
// peer chose its name.
func (s *Session) behind() debtor {
	key := s.shares.conns.Key()
	if key.Place == "" {
		return debtor{name: key.Name}
	}
	_, host := atAddress(s.site.addr)
	return host
}

// charge notes how the connection of an accepted session ended.
func (s *Session) charge(why error, now time.Time) {
	if s.dialed || !isOffense(why) {
		return
	}
	b := &s.endpoint.gate.debts
	b.charge(debtor{socket: s.site.addr}, now)
	b.charge(s.behind(), now)
}

// admitIdentity says why no connection is taken from the peer of a session, which is known
// only after its handshake. Whoever makes us do handshakes for nothing is charged for them,
// and then turned away before.
func (s *Session) admitIdentity(now time.Time) error {
	who := s.behind()
	if who.name == "" {
		return nil // the gate has asked
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

// lateSetup ends a connection whose peer, or whose node, may just be busy.
const lateSetup = "no SETUP in time"

// isOffense reports whether a connection ended because the peer broke the rules of link/1
// or of QUIC.
func isOffense(why error) bool {
	if app, ok := errors.AsType[*quic.ApplicationError](why); ok {
		code := wire.Code(app.ErrorCode)
		return !app.Remote && (code == wire.CodeProtocol || code == wire.CodeLimit) && app.ErrorMessage != lateSetup
	}
	tp, ok := errors.AsType[*quic.TransportError](why)
	return ok && !tp.Remote && tp.ErrorCode >= quic.FlowControlError && tp.ErrorCode <= quic.ProtocolViolation
}
