package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/mtls" //nolint:depguard // as in network_test.go
	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/wire"
)

// refused tries to admit a connection of who. It returns how long who must still wait, or zero if
// the connection is admitted.
func (b *debts) refused(who debtor) time.Duration {
	if paused, ok := errors.AsType[*pausedError](b.admit(time.Now(), who)); ok {
		return paused.left
	}
	return 0
}

func TestPausesDoubleAndAreForgotten(t *testing.T) { // SEC-328
	socket, host := atAddress(netip.MustParseAddrPort("192.0.2.1:7443"))
	for _, test := range []struct {
		who  debtor
		free int
		want []time.Duration
	}{
		{socket, 4, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, 64 * time.Second, 64 * time.Second}},
		{host, 32, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second}},
		{debtor{name: "web"}, 32, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second}},
	} {
		t.Run(test.who.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := debts{of: make(map[debtor]*debt)}
				spend := func() {
					for i := range test.free {
						b.charge(test.who, time.Now())
						if left := b.refused(test.who); left != 0 {
							t.Fatalf("refused for %v after %d offenses", left, i+1)
						}
					}
				}
				spend()
				for _, want := range test.want {
					// The first offense begins a pause. The others are those of connections that began before it.
					for range 100 {
						b.charge(test.who, time.Now())
					}
					if got := b.refused(test.who); got != want {
						t.Fatalf("a pause of %v, want %v", got, want)
					}
					pass(want)
					if got := b.refused(test.who); got != 0 {
						t.Errorf("refused for %v when the pause is over", got)
					}
					if got := b.refused(test.who); got != trialEvery {
						t.Errorf("the second one after a pause is refused for %v, want %v", got, trialEvery)
					}
				}
				pass(time.Duration(test.free) * test.who.terms().every)
				if b.sweep(time.Now()); len(b.of) != 0 {
					t.Errorf("%d are remembered after a while of good behavior", len(b.of))
				}
				spend()
				b.charge(test.who, time.Now())
				if got := b.refused(test.who); got != firstPause {
					t.Errorf("a pause of %v when all before was forgotten, want %v", got, firstPause)
				}
			})
		})
	}
}

func TestWhatIsAnOffense(t *testing.T) { // SEC-328
	cut := func(code wire.Code, remote bool, text string) error {
		return &quic.ApplicationError{ErrorCode: quic.ApplicationErrorCode(code), Remote: remote, ErrorMessage: text}
	}
	for _, test := range []struct {
		why  error
		want bool
	}{
		{cut(wire.CodeProtocol, false, "second CONTROL stream"), true},
		{cut(wire.CodeLimit, false, "credited frame"), true},
		{cut(wire.CodeProtocol, false, lateSetup), false},
		{cut(wire.CodeProtocol, true, "it is the node that is wrong"), false},
		{cut(wire.CodeOverloaded, false, "too many connections"), false},
		{cut(wire.CodeDeadline, false, "silent"), false},
		{cut(wire.CodeUnauthenticated, false, "a certificate has expired"), false},
		{&quic.TransportError{ErrorCode: quic.FlowControlError}, true},
		{&quic.TransportError{ErrorCode: quic.ProtocolViolation}, true},
		{&quic.TransportError{ErrorCode: quic.FlowControlError, Remote: true}, false},
		{&quic.TransportError{ErrorCode: quic.InternalError}, false},
		{&quic.TransportError{ErrorCode: quic.NoViablePathError}, false},
		{&quic.IdleTimeoutError{}, false},
		{&quic.StatelessResetError{}, false},
		{nil, false},
	} {
		if got := isOffense(quicconn.Translate(test.why)); got != test.want {
			t.Errorf("isOffense(%v) = %t, want %t", test.why, got, test.want)
		}
	}
}

func TestDebtorsAreBounded(t *testing.T) { // SEC-328
	b := debts{of: make(map[debtor]*debt)}
	for i := range 3 * maxDebtors {
		b.charge(debtor{name: fmt.Sprint(i)}, time.Now())
	}
	if len(b.of) > maxDebtors {
		t.Errorf("%d debtors are remembered, want %d at most", len(b.of), maxDebtors)
	}
}

// outlaw is a member that breaks the rules of link/1 under one or more names, from one or more
// sockets of one host.
type outlaw struct {
	w  *world
	to *node
	// tr holds the transports by port.
	tr map[int]*quic.Transport
}

// offend dials from a port and breaks a rule. It reports whether the connection was admitted, so
// that there was one to break the rule on.
func (o *outlaw) offend(name string, port int, rule func(r *raw)) bool {
	t := o.w.t
	tr := o.tr[port]
	if tr == nil {
		tr = &quic.Transport{Conn: o.w.socketAt(&net.UDPAddr{IP: memberAddr, Port: port})}
		// The bubble ends only when the goroutines of the transport have ended.
		t.Cleanup(func() { _ = tr.Close() })
		o.tr[port] = tr
	}
	conn, err := tr.Dial(t.Context(), o.to.Addr(), mtls.Client(o.w.ca.Source(name), o.to.id, mtls.Protocol), rawConfig())
	if err != nil {
		// Until refuseFor is over, the next attempt would be refused because of this one.
		pass(3 * refuseFor)
		return false
	}
	r := o.w.raw(conn)
	if r.control, err = r.conn.OpenControl(); err == nil {
		// Write fails if the connection has ended.
		_, _ = r.control.Write(append(controlType(), setupFrame()...))
	}
	settle()
	if conn.Context().Err() != nil {
		return false
	}
	rule(r)
	<-conn.Context().Done()
	settle()
	return true
}

func floodControl(r *raw) {
	var flood []byte
	for range controlBurst + controlRate {
		flood = append(flood, frame(0x9d, 0, "")...)
	}
	_, _ = r.control.Write(flood)
}

func useCreditOfNobody(r *raw) {
	r.stream(patternStream("stream")).say(wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindPattern, Flags: wire.FlagCredited, Length: 4 << 20}))
}

// hangUp closes the connection with a code that says that the node has broken the rules. This is
// not an offense of the peer.
func hangUp(r *raw) {
	r.conn.Close(wire.CodeProtocol, "")
}

// TestWhoIsCutOffMustPause checks that a peer that breaks the rules again and again is paused, so that
// the node does not pay a handshake for each offense.
func TestWhoIsCutOffMustPause(t *testing.T) { // SEC-328
	for _, test := range []struct {
		name string
		rule func(r *raw)
		opts []nodeOption
		// named and ports are how many names and ports the attacker uses in turn.
		named, ports int
		// least and most bound the connections that it gets before it must pause.
		least, most int
	}{
		{"frames on CONTROL, one process", floodControl, nil, 1, 1, 5, 5},
		{"credit that nobody granted, one process", useCreditOfNobody, nil, 1, 1, 5, 5},
		{"many ports, one identity", floodControl, nil, 1, 1000, 33, 45},
		{"many ports and names, names free", floodControl, []nodeOption{advisory}, 1000, 1000, 33, 45},
		{"the peer's own word", hangUp, nil, 1, 1, 50, 50},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{}, test.opts...)
				server.handler.onStream("stream", func(s *Stream) { <-s.Canceled().Done() })
				honest := w.quiet("web", Limits{}).connect(server)
				o := &outlaw{w, server, make(map[int]*quic.Transport)}
				had := 0
				for i := range 50 {
					if !o.offend(fmt.Sprintf("mallory%d", i%test.named), 10_000+i%test.ports, test.rule) {
						break
					}
					had++
				}
				if had < test.least || had > test.most {
					t.Errorf("it had %d connections, want %d to %d", had, test.least, test.most)
				}
				mustEcho(t, honest)
				mustEcho(t, w.quiet("shop", Limits{}).connect(server))
				if had == 50 {
					return
				}
				if n := server.Refused()[refusedPaused]; n == 0 || len(server.log.lines("reason="+refusedPaused, memberAddr.String())) == 0 {
					t.Errorf("the pause is not told: %d", n)
				}
				pass(2 * time.Second)
				if !o.offend("mallory0", 10_000, test.rule) {
					t.Error("it is refused when the pause is over")
				}
				if o.offend("mallory0", 10_000, test.rule) {
					t.Error("it is admitted at once after one more offense")
				}
			})
		})
	}
}

// TestNeighborsOfOneThatIsWrong checks that a faulty process that breaks the rules forever does not
// affect processes that share its host, its name or both.
func TestNeighborsOfOneThatIsWrong(t *testing.T) { // SEC-328
	for _, opts := range [][]nodeOption{nil, {advisory}} {
		t.Run(fmt.Sprintf("names free %t", opts != nil), func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{}, opts...)
				o := &outlaw{w, server, make(map[int]*quic.Transport)}
				config := rawConfig()
				config.KeepAlivePeriod = 5 * time.Second
				// The neighbor has the name and host of mallory, but another port.
				neighbor := (&member{w: w, to: server}).connect(config)
				had := 0
				// A faulty process dials twice a second.
				for range 600 {
					if o.offend("mallory", 10_000, floodControl) {
						had++
					}
					pass(500 * time.Millisecond)
				}
				if had > 20 || had < 6 {
					t.Errorf("a process that is wrong had %d connections in five minutes and more", had)
				}
				neighbor.mustEcho()
				late := (&member{w: w, to: server, conns: 100}).connect(rawConfig())
				if late == nil {
					t.Fatal("a neighbor is not admitted")
				}
				late.mustEcho()
			})
		})
	}
}

// TestHandshakesForNothingAreRefusedBefore checks that the handshakes of a paused identity are bounded.
// An identity is known and refused only after a handshake, so its socket and host are charged for
// that handshake, and later ones are refused before they begin.
func TestHandshakesForNothingAreRefusedBefore(t *testing.T) { // SEC-328
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		o := &outlaw{w, server, make(map[int]*quic.Transport)}
		for i := range 40 {
			if !o.offend("mallory", 10_000+i, floodControl) {
				break
			}
		}
		before, behind := 0, 0
		for range 40 {
			conn, err := o.tr[10_000].Dial(t.Context(), server.Addr(), mtls.Client(w.ca.Source("mallory"), server.id, mtls.Protocol), rawConfig())
			if err != nil {
				before++
				continue
			}
			if code, why := w.raw(conn).closed(); code != wire.CodeOverloaded {
				t.Fatalf("it was let in, and closed with %v: %s", code, why)
			}
			behind++
		}
		if behind > 4 || behind == 0 || before == 0 {
			t.Errorf("%d handshakes were made for a peer that has to pause, and %d attempts refused before", behind, before)
		}
		mustEcho(t, w.quiet("web", Limits{}).connect(server))
	})
}

// mustClose waits for the end of the connection and expects the code.
func (r *raw) mustClose(want wire.Code) {
	r.t.Helper()
	if code, why := r.closed(); code != want {
		r.t.Errorf("closed with %v: %s, want %v", code, why, want)
	}
}
