package transport

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/mtls" //nolint:depguard // as in network_test.go
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/wire"
)

// mustFail checks that err is an Error with the reason.
func mustFail(t *testing.T, err error, want Reason) {
	t.Helper()
	_ = failure(t, err, want)
}

// failure returns err, which must be an Error with the reason.
func failure(t *testing.T, err error, want Reason) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), want an Error with reason %v", err, err, want)
	}
	if e.Reason != want {
		t.Fatalf("reason of %q is %v, want %v", e, e.Reason, want)
	}
	return e
}

func TestSessionKnowsWhatThePeerAnnounced(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{MaxMessage: 12345}), w.quiet("web", Limits{})
		s := client.connect(server)
		if got := s.Remote(); got.Instance != "i-1" || got.MaxMessage != 12345 {
			t.Errorf("SETUP of the peer: %+v", got)
		}
		if got, want := s.Peer(), server.id.String(); got != want {
			t.Errorf("identity of the peer: %v, want %v", got, want)
		}
		settle()
		if r, ok := s.Route(0, "echo"); !ok || r.ID != 0 {
			t.Errorf("route echo: %d, %t; want the number 0", r.ID, ok)
		}
		if _, ok := s.Route(1, "echo"); ok {
			t.Error("a topic echo was found, only a method is announced")
		}
		server.AnnounceRoutes(5, []wire.RouteInfo{{Kind: 1, Name: "placed"}})
		settle()
		if r, ok := s.Route(1, "placed"); !ok || r.ID != 5 {
			t.Errorf("route placed, announced later: %d, %t; want the number 5", r.ID, ok)
		}
		mustEcho(t, s)
	})
}

func TestTagsFollowThePeer(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.node("web", Limits{})
		var heard [][]string
		p := client.Peer(server.id.String(), server.addr, PeerConfig{
			TLS: func() *tls.Config { return mtls.Client(client.source, server.id, client.cfg.Protocol) },
			Tags: func(addr string, tags []string) {
				if addr != server.addr {
					t.Errorf("tags of %s, want %s", addr, server.addr)
				}
				heard = append(heard, tags)
			},
		})
		defer p.Release()
		s, err := p.Session(t.Context(), ClassCalls)
		if err != nil || len(heard) != 1 {
			t.Fatalf("connecting: %v; tags were heard %d times, want once before the session is used", err, len(heard))
		}
		server.AnnounceTags([]string{"v2", "db"})
		client.AnnounceTags([]string{"spot"})
		settle()
		if now := s.Tags(); len(heard) != 2 || !slices.Equal(heard[1], now) || !slices.Equal(now, []string{"v2", "db"}) {
			t.Errorf("tags of the server: %v, heard %v", now, heard)
		}
		for _, accepted := range server.acceptedSessions() {
			if got := accepted.Tags(); !slices.Equal(got, []string{"spot"}) {
				t.Errorf("tags of the client: %v", got)
			}
		}
		// A later connection gets the new tags, too, although SETUP has not changed.
		late := w.quiet("web", Limits{}).connect(server)
		settle()
		if got := late.Tags(); !slices.Equal(got, []string{"v2", "db"}) {
			t.Errorf("tags for a later connection: %v", got)
		}
	})
}

func TestAnAddressThatMayNotBeDialed(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		forbidden := errors.New("not here")
		client.cfg.MayDial = func(netip.Addr) error { return forbidden }
		_, err := client.peer(server).Session(t.Context(), ClassCalls)
		if e := failure(t, err, ReasonForbidden); !errors.Is(e, forbidden) || !e.NotProcessed {
			t.Errorf("error %v", err)
		}
	})
}

func TestDialWaitsForSetup(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		silent := w.rawServer("orders", func(*raw) {})
		start := time.Now()
		_, err := w.quiet("web", Limits{}).dial(silent)
		e := failure(t, err, ReasonUnreachable)
		if !errors.Is(err, errNoSetup) || !e.NotProcessed {
			t.Errorf("the error is %v (not processed: %t), want one about SETUP", e, e.NotProcessed)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("gave up after %v, want 5 s at most", took)
		}
	})
}

func TestServerDropsAClientThatSendsNoSetup(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		mute := w.rawClient("mallory", server)
		st := mute.stream(callStream(wire.StreamCall, "echo", time.Second, "too early"))
		if code, reason := mute.closed(); code != wire.CodeProtocol || !strings.Contains(reason, "SETUP") {
			t.Errorf("closed with %v %q, want PROTOCOL about SETUP", code, reason)
		}
		if got := st.reply(); got.err == nil {
			t.Errorf("a call before SETUP was answered: %+v", got)
		}
		if n := server.handler.count("echo"); n != 0 {
			t.Errorf("the handler ran %d times before SETUP", n)
		}
		mustEcho(t, w.quiet("web", Limits{}).connect(server))
	})
}

func TestServerThatRejectsTheCertificateIsNoSuccess(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		client.source = w.ca.Source("web", securitytest.SignedBy(securitytest.NewCA(t, trustDomain)))
		_, err := client.peer(server).Session(t.Context(), ClassCalls)
		e := failure(t, err, ReasonRejected)
		if !strings.Contains(err.Error(), "its log says why; check that both clocks are right") {
			t.Errorf("%v does not say what to look at", err)
		}
		if !e.NotProcessed || !strings.Contains(e.Error(), "certificate") {
			t.Errorf("the error is %q (not processed: %t)", e, e.NotProcessed)
		}
		if n := server.handler.count("echo"); n != 0 {
			t.Errorf("the handler ran %d times", n)
		}
	})
}

func TestClientRefusesAnotherIdentity(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("billing", Limits{}), w.quiet("web", Limits{})
		_, err := client.peerAt(w.ca.ID("orders"), server.addr).Session(t.Context(), ClassCalls)
		if e := failure(t, err, ReasonIdentity); !e.NotProcessed {
			t.Errorf("%q does not say that nothing was processed", e)
		}
	})
}

func TestNobodyThere(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		client := w.quiet("web", Limits{})
		start := time.Now()
		_, err := client.peerAt(w.ca.ID("orders"), "10.9.9.9:7443").Session(t.Context(), ClassCalls)
		mustFail(t, err, ReasonUnreachable)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("gave up after %v, want 5 s at most", took)
		}
		_, err = client.peerAt(w.ca.ID("orders"), "no port").Session(t.Context(), ClassCalls)
		mustFail(t, err, ReasonUnreachable)
	})
}

func TestVersionsMismatch(t *testing.T) {
	for _, test := range []struct{ server, client string }{{"link/1", "link/2"}, {"link/2", "link/1"}} {
		t.Run("server "+test.server, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{}, speaking(test.server))
				client := w.quiet("web", Limits{}, speaking(test.client))
				_, err := client.peer(server).Session(t.Context(), ClassCalls)
				e := failure(t, err, ReasonIncompatible)
				if !containsAll(e.Error(), "link/1", "link/2") || !e.NotProcessed {
					t.Errorf("the error names not both versions: %q", e)
				}
				if !server.log.contains("link/1", "link/2") {
					t.Error("the log of the server names not both versions")
				}
			})
		})
	}
}

func TestForeignProtocols(t *testing.T) {
	for _, test := range []struct {
		protocol string
		// told means that the client is told over a verified connection which versions there are.
		told bool
	}{{"h3", false}, {"h", false}, {"link", false}, {"link-ca/1", false}, {"link/1 ", true}, {"link/0", true}} {
		t.Run("ALPN "+test.protocol, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{})
				conf := mtls.Client(w.ca.Source("mallory"), server.id, test.protocol)
				// The attacker accepts any server.
				conf.VerifyConnection = nil
				conn, err := w.rawDialTLS(conf, server, rawConfig())
				switch {
				case test.told && err != nil:
					t.Errorf("handshake: %v", err)
				case test.told:
					code, reason := w.raw(conn).closed()
					if code != wire.CodeIncompatible || !strings.Contains(reason, "link/1") {
						t.Errorf("closed with %v %q, want INCOMPATIBLE and the version", code, reason)
					}
				case err == nil:
					t.Error("the handshake succeeded")
				default:
					mustFail(t, dialError("peer", test.protocol, quicconn.Translate(err)), ReasonIncompatible)
				}
				mustEcho(t, w.quiet("web", Limits{}).connect(server))
			})
		})
	}
}

func TestServerOfAnotherProtocol(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		source := w.ca.Source("orders")
		other := w.rawServerTLS(source.ID(), mtls.Server(source, "h3"), func(*raw) {})
		_, err := w.quiet("web", Limits{}).dial(other)
		if e := failure(t, err, ReasonIncompatible); !strings.Contains(e.Error(), "link/1") {
			t.Errorf("the error does not name our version: %q", e)
		}
	})
}

// callError makes a call that must fail.
func callError(t *testing.T, s *Session) error {
	t.Helper()
	got, status, err := call(t.Context(), s, "echo", "x")
	if err == nil {
		t.Fatalf("a call succeeded: %q, %+v", got, status)
	}
	return err
}

// closeCode returns the code with which the connection of an ended session was
// closed.
func closeCode(s *Session) wire.Code {
	end, ok := errors.AsType[*carrier.EndError](s.conn.Cause())
	if !ok || end.End != carrier.EndClosed {
		return wire.MaxVarint
	}
	return end.Code
}

// TestSessionsThatHaveEndedTakeNoMemory checks that the loops that look at all sessions from time to time do not keep
// ended ones in memory.
func TestSessionsThatHaveEndedTakeNoMemory(t *testing.T) { // SEC-382
	inEach(t, func(w *world) {
		t := w.t
		const conns = 20
		server := w.node("orders", Limits{})
		var freed atomic.Int64
		var all []*raw
		for range conns {
			all = append(all, w.client("web", server))
		}
		for _, s := range server.acceptedSessions() {
			runtime.AddCleanup(s, func(int) { freed.Add(1) }, 0)
		}
		// By then all sessions have been looked at.
		pass(3 * time.Second)
		for _, r := range all[1:] {
			r.conn.Close(0, "")
		}
		pass(time.Minute)
		// Cleanups run some time after a collection.
		for range 10 {
			runtime.GC()
			pass(time.Second)
		}
		// The last session that was looked at may still be on a stack.
		if n := freed.Load(); n < conns-3 {
			t.Errorf("of %d sessions that have ended %d are still in memory", conns-1, conns-1-n)
		}
	})
}
