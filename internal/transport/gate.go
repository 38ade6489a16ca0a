package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/linkmesh/link/internal/share"
)

// gate admits handshakes. The carrier itself bounds only completed ones, so without a
// gate each Initial packet costs a connection and a goroutine.
type gate struct {
	limits Limits
	// failed is called for each handshake that fails. It must not block.
	failed func(peer string, err error)
	// fresh limits the handshakes that may start without address validation.
	fresh *rate.Limiter

	// places counts the handshakes under way, shared among sources.
	places *share.Pool
	// debts are held against peers whose connections were cut off.
	debts debts

	mu          sync.Mutex // guards the fields below
	started     lately[netip.Prefix, *starts]
	unvalidated int
	// refused holds the addresses refused since turned and in the period before.
	refused [2]map[netip.AddrPort]struct{}
	turned  time.Time
}

// starts limits how many handshakes a place may begin. A source that abandons them at once
// never has many under way, yet each costs as much as a completed one, or forty times as
// much, see strangers.
type starts struct {
	// proven limits handshakes with a validated address. Those beyond it are refused.
	proven *rate.Limiter
	// unproven limits handshakes without a validated address. Beyond it the address must be
	// validated; nobody is refused because of it, as the address can be forged.
	unproven *rate.Limiter
}

const (
	// startRate is how many handshakes per second one place may begin, and startBurst how many
	// at once: that many nodes behind one address may start together after a deploy. A handshake
	// costs this side half a millisecond, or 20 ms if its peer makes it as costly as it can.
	startRate  = 32
	startBurst = 1024
	// unprovenRate and unprovenBurst are how many of these need not validate their address.
	unprovenRate  = 16
	unprovenBurst = 128
	// maxStarters bounds the places that are remembered.
	maxStarters = 4096
)

// startsLocked returns the limits of the place that an address belongs to.
func (g *gate) startsLocked(at netip.AddrPort) *starts {
	s := g.started.at(share.PlaceOf(at.Addr()))
	if *s == nil {
		*s = &starts{proven: rate.NewLimiter(startRate, startBurst), unproven: rate.NewLimiter(unprovenRate, unprovenBurst)}
	}
	return *s
}

const (
	// refuseFor is the shortest time for which an address stays refused. A ClientHello
	// with a post-quantum key takes two packets: if the second were admitted after
	// the first was refused, it would hold a place in the gate while it waits for the first.
	refuseFor = 50 * time.Millisecond
	// maxRefused bounds the addresses that are remembered, against spoofed floods.
	maxRefused = 4096
)

// refuseLocked notes that addr was refused.
func (g *gate) refuseLocked(addr netip.AddrPort) {
	if len(g.refused[0]) < maxRefused {
		g.refused[0][addr] = struct{}{}
	}
}

// wasRefusedLocked reports whether addr was refused a moment ago.
func (g *gate) wasRefusedLocked(addr netip.AddrPort, now time.Time) bool {
	if age := now.Sub(g.turned); age > refuseFor {
		g.refused[1] = g.refused[0]
		if age > 2*refuseFor {
			g.refused[1] = nil
		}
		g.refused[0], g.turned = make(map[netip.AddrPort]struct{}), now
	}
	_, now0 := g.refused[0][addr]
	_, now1 := g.refused[1][addr]
	return now0 || now1
}

func newGate(l Limits) *gate {
	return &gate{
		limits: l,
		failed: func(string, error) {},
		fresh:  rate.NewLimiter(rate.Limit(l.Handshakes.RetryRate), l.Handshakes.RetryRate),
		places: share.NewPool(share.Config{Limit: int64(l.Handshakes.Pending), Floor: floorHandshakes}),
		debts:  debts{of: make(map[debtor]*debt)},

		started: newLately[netip.Prefix, *starts](maxStarters),
	}
}

// mustValidate reports whether the peer must prove its address with a Retry (RFC 9000, section
// 8.1.2), which is so while handshakes come in unusual numbers. A peer that must pause, or was
// refused a moment ago, is refused with its first packet and need not prove its address first.
func (g *gate) mustValidate(addr net.Addr) bool {
	now, at := time.Now(), addrPort(addr)
	if socket, host := atAddress(at); g.debts.paused(now, socket, host) {
		return false
	}
	g.mu.Lock()
	refused := g.wasRefusedLocked(at, now)
	g.mu.Unlock()
	if refused {
		return false
	}
	from := g.places.Holder(share.Key{Name: source(addr)})
	many := from.Held() >= int64(g.limits.Handshakes.PerSource)
	from.Release()
	g.mu.Lock()
	busy := g.unvalidated >= g.limits.Handshakes.RetryAbove || !g.startsLocked(at).unproven.AllowN(now, 1)
	g.mu.Unlock()
	return many || busy || !g.fresh.Allow()
}

var (
	errTooManyHandshakes = errors.New("too many handshakes in progress")
	errTooManyStarts     = fmt.Errorf("more than %d handshakes begun from one address at once and %d in a second", startBurst, startRate)
)

// handshake is the place of one handshake in the gate.
type handshake struct {
	gate      *gate
	from      *share.Holder
	validated bool
	once      sync.Once
	own       ownLeaf
}

type handshakeKey struct{}

// admit counts a handshake, or refuses it with CONNECTION_REFUSED, which makes the
// dialer try again a little later. A source that has proved its address may hold as
// many places as it leaves free, which is half of all for the first source: many nodes
// behind one address start at once after a deploy, and a refusal costs them seconds.
func (g *gate) admit(ctx context.Context, from net.Addr, proven bool) (context.Context, error) {
	addr := addrPort(from)
	now := time.Now()
	g.mu.Lock()
	if g.wasRefusedLocked(addr, now) {
		defer g.mu.Unlock()
		g.refuseLocked(addr)
		return nil, errTooManyHandshakes
	}
	socket, host := atAddress(addr)
	if err := g.debts.admit(now, socket, host); err != nil {
		g.refuseLocked(addr)
		g.mu.Unlock()
		g.failed(addr.String(), err)
		return nil, err
	}
	if proven && !g.startsLocked(addr).proven.AllowN(now, 1) {
		g.refuseLocked(addr)
		g.mu.Unlock()
		g.failed(addr.String(), errTooManyStarts)
		return nil, errTooManyStarts
	}
	h := &handshake{gate: g, from: g.places.Holder(share.Key{Name: source(from)}), validated: proven}
	many := !h.validated && h.from.Held() >= int64(g.limits.Handshakes.PerSource)
	if many || h.from.Take(1) != nil {
		h.from.Release()
		g.refuseLocked(addr)
		g.mu.Unlock()
		g.failed(addr.String(), errTooManyHandshakes)
		return nil, errTooManyHandshakes
	}
	if !h.validated {
		g.unvalidated++
	}
	g.mu.Unlock()
	// A handshake that fails ends its context.
	context.AfterFunc(ctx, func() {
		if h.done() {
			g.failed(addr.String(), context.Cause(ctx))
		}
	})
	return context.WithValue(withOwner(ctx), handshakeKey{}, h), nil
}

// done gives the place back. The accept loop calls it when the handshake is complete,
// and the end of the connection's context when it has failed. It reports whether this
// call gave the place back.
func (h *handshake) done() (was bool) {
	h.once.Do(func() {
		was = true
		g := h.gate
		g.mu.Lock()
		defer g.mu.Unlock()
		if !h.validated {
			g.unvalidated--
		}
		h.from.Give(1)
		h.from.Release()
	})
	return was
}

// handshakeOf returns the handshake that admit put into the context of an accepted
// connection or a ClientHello, or nil.
func handshakeOf(ctx context.Context) *handshake {
	h, _ := ctx.Value(handshakeKey{}).(*handshake)
	return h
}

func handshakeDone(ctx context.Context) {
	if h := handshakeOf(ctx); h != nil {
		h.done()
	}
}

// source returns the unit by which handshakes are counted: the addresses that one host
// controls as a whole.
func source(addr net.Addr) string { return share.PlaceOf(addrPort(addr).Addr()).String() }

// addrPort returns the address and port of a UDP address, and zero for any other address.
func addrPort(addr net.Addr) netip.AddrPort {
	if udp, ok := addr.(*net.UDPAddr); ok {
		return udp.AddrPort()
	}
	return netip.AddrPort{}
}
