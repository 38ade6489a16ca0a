package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

// gate admits handshakes. quic-go itself bounds only completed ones, so without
// it each Initial packet costs a connection and a goroutine.
type gate struct {
	limits Limits
	fresh  *rate.Limiter // handshakes that may start without address validation

	mu          sync.Mutex // guards the fields below
	total       int
	unvalidated int
	sources     map[netip.Prefix]int
}

func newGate(l Limits) *gate {
	return &gate{
		limits:  l,
		fresh:   rate.NewLimiter(rate.Limit(l.RetryRate), l.RetryRate),
		sources: make(map[netip.Prefix]int),
	}
}

// mustValidate makes the peer prove its address with a Retry (RFC 9000, section
// 8.1.2) while handshakes come in unusual numbers.
func (g *gate) mustValidate(addr net.Addr) bool {
	g.mu.Lock()
	busy := g.unvalidated >= g.limits.RetryAbove || g.sources[source(addr)] >= g.limits.HandshakesPerSource/2
	g.mu.Unlock()
	return busy || !g.fresh.Allow()
}

var errTooManyHandshakes = errors.New("too many handshakes under way")

// handshake is the place of one handshake in the gate.
type handshake struct {
	gate      *gate
	source    netip.Prefix
	validated bool
	once      sync.Once
}

type handshakeKey struct{}

// admit counts a handshake, or refuses it with CONNECTION_REFUSED, which the
// dialer takes as a reason to try again a little later. A source that has
// proved its address gets 16 times the room of one that has not.
func (g *gate) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	h := &handshake{gate: g, source: source(info.RemoteAddr), validated: info.AddrVerified}
	perSource := g.limits.HandshakesPerSource
	if h.validated {
		perSource *= 16
	}
	g.mu.Lock()
	if g.total >= g.limits.Handshakes || g.sources[h.source] >= perSource {
		g.mu.Unlock()
		return nil, errTooManyHandshakes
	}
	g.total++
	g.sources[h.source]++
	if !h.validated {
		g.unvalidated++
	}
	g.mu.Unlock()
	context.AfterFunc(ctx, h.done) // a handshake that fails ends its context
	return context.WithValue(ctx, handshakeKey{}, h), nil
}

// done gives the place back; the accept loop calls it when the handshake is
// complete, the connection's context when it failed.
func (h *handshake) done() {
	h.once.Do(func() {
		g := h.gate
		g.mu.Lock()
		defer g.mu.Unlock()
		g.total--
		if !h.validated {
			g.unvalidated--
		}
		if g.sources[h.source]--; g.sources[h.source] == 0 {
			delete(g.sources, h.source)
		}
	})
}

func handshakeDone(ctx context.Context) {
	if h, ok := ctx.Value(handshakeKey{}).(*handshake); ok {
		h.done()
	}
}

// source is the unit that handshakes are counted by: an IPv4 address or an IPv6
// /64, which one host controls as a whole.
func source(addr net.Addr) netip.Prefix {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := udp.AddrPort().Addr().Unmap()
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
