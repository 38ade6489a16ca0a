package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/mtls" //nolint:depguard // as in network_test.go
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security" //nolint:depguard // as in network_test.go
)

// lines returns the lines of the log that contain all words.
func (l *logBuffer) lines(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if containsAll(line, words...) {
			found = append(found, line)
		}
	}
	return found
}

func TestRefusedHandshakesAreCountedByReason(t *testing.T) { // SEC-121
	stranger := func(opts ...securitytest.Option) func(w *world, to *node) {
		return func(w *world, to *node) {
			conf := mtls.Client(w.ca.Source("web", opts...), to.id, mtls.Protocol)
			if conn, err := w.rawDialTLS(conf, to, rawConfig()); err == nil {
				<-conn.Context().Done()
			}
		}
	}
	for _, test := range []struct {
		reason string
		knock  func(w *world, to *node)
	}{
		{"untrusted", stranger(securitytest.SelfSigned())},
		{"expired", stranger(securitytest.Expired())},
		{"unknown-trust-domain", stranger(securitytest.WithURIs("spiffe://evil.test/ns/default/svc/web"))},
		{"no-certificate", stranger(securitytest.NoCertificate())},
		{"protocol", func(w *world, to *node) {
			_, _ = w.rawDialTLS(mtls.Client(w.ca.Source("web"), to.id, "h3"), to, rawConfig())
		}},
		{"version", func(w *world, to *node) {
			conn, err := w.rawDialTLS(mtls.Client(w.ca.Source("web"), to.id, "link/9\x1b[2J\n"), to, rawConfig())
			if err == nil {
				<-conn.Context().Done()
			}
		}},
		{"rejected-by-peer", func(w *world, to *node) {
			_, _ = w.rawDialTLS(mtls.Client(w.ca.Source("web"), w.ca.ID("mailer"), mtls.Protocol), to, rawConfig())
		}},
		{"timeout", func(w *world, to *node) {
			tr := &quic.Transport{Conn: w.socket()}
			defer tr.Close()
			w.lose(func(p packet) bool { return p.From.String() == to.addr })
			ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
			defer cancel()
			_, _ = tr.Dial(ctx, to.Addr(), honestTLS(w, to), rawConfig())
			w.lose(nil)
			pass(20 * time.Second)
		}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{})
				if got := server.Refused(); len(got) != 0 {
					t.Fatalf("refused at the start: %v", got)
				}
				test.knock(w, server)
				settle()
				if got := server.Refused(); !maps.Equal(got, map[string]uint64{test.reason: 1}) {
					t.Errorf("refused: %v, want one for %s", got, test.reason)
				}
				lines := server.log.lines("refusing connections", "reason="+test.reason, "count=1", "peer=10.0.0.")
				if len(lines) != 1 || strings.Contains(lines[0], "\x1b") {
					t.Errorf("lines: %q", lines)
				}
				mustEcho(t, w.quiet("web", Limits{}).connect(server))
				if got := server.Refused(); len(got) != 1 {
					t.Errorf("an honest connection counts as refused: %v", got)
				}
			})
		})
	}
}

// TestAFloodOfStrangersIsLoggedSparingly expects at most one line in ten seconds. Together the lines count all strangers,
// including those that came after the last line of the flood.
func TestAFloodOfStrangersIsLoggedSparingly(t *testing.T) { // SEC-121, SEC-612
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		const flood = 60
		conf := mtls.Client(w.ca.Source("web", securitytest.SelfSigned()), server.id, mtls.Protocol)
		for range flood {
			if conn, err := w.rawDialTLS(conf, server, rawConfig()); err == nil {
				<-conn.Context().Done()
			}
		}
		settle()
		if got := server.Refused()["untrusted"]; got != flood {
			t.Errorf("%d counted, want %d", got, flood)
		}
		pass(30 * time.Second)
		lines, said := server.log.lines("refusing connections"), 0
		for _, line := range lines {
			_, after, _ := strings.Cut(line, "count=")
			count, _, _ := strings.Cut(after, " ")
			n, err := strconv.Atoi(count)
			if err != nil {
				t.Fatal(err)
			}
			said += n
		}
		if len(lines) > 3 || said != flood {
			t.Errorf("%d lines speak of %d strangers, want at most 3 of %d: %q", len(lines), said, flood, lines)
		}
	})
}

func TestReasonsOfRefusalsAreBounded(t *testing.T) {
	log := &logBuffer{}
	r := refusals{log: slog.New(slog.NewTextHandler(log, nil)), reasons: make(map[string]*refusal)}
	for i := range 1000 {
		r.note(strconv.Itoa(i), "", "", time.Now())
	}
	total := uint64(0)
	for _, f := range r.reasons {
		total += f.total
	}
	if len(r.reasons) > maxRefusalReasons || total != 1000 || r.reasons[refusedOther] == nil {
		t.Errorf("%d reasons with %d in all, want at most %d and 1000", len(r.reasons), total, maxRefusalReasons)
	}
}

// turning is a source that returns a new certificate each time.
type turning struct {
	security.Source

	fresh func() security.Source
}

func (s turning) SVID() (*security.SVID, error) { return s.fresh().SVID() }

// seen holds the serial numbers of the certificates that one side saw in a handshake.
type seen struct{ own, peer string }

func watching(into *seen) func(tls.ConnectionState, *x509.Certificate) (Identity, error) {
	return func(state tls.ConnectionState, own *x509.Certificate) (Identity, error) {
		*into = seen{own.SerialNumber.String(), state.PeerCertificates[0].SerialNumber.String()}
		return identify(state, own)
	}
}

// TestOwnCertificateIsThatOfTheHandshake checks that Identify gets the certificate that was shown in the handshake, even
// if the source has a newer one by then.
func TestOwnCertificateIsThatOfTheHandshake(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		var server, client seen
		watch := func(into *seen, service string) nodeOption {
			return func(c *Config) {
				source := turning{w.ca.Source(service), func() security.Source { return w.ca.Source(service) }}
				c.ServerTLS = func(protocol string) *tls.Config { return mtls.Server(source, protocol) }
				c.Identify = watching(into)
			}
		}
		s := w.node("orders", Limits{}, watch(&server, "orders"))
		c := w.quiet("web", Limits{}, watch(&client, "web"))
		c.source = turning{c.source, func() security.Source { return w.ca.Source("web") }}
		mustEcho(t, c.connect(s))
		if server.own == "" || server.own != client.peer || client.own == "" || client.own != server.peer {
			t.Errorf("the server showed %s and was seen as %s, the client %s and %s", server.own, client.peer, client.own, server.peer)
		}
	})
}

// TestAddressAfterAMigration checks that a handler sees the new address of a client that moved to another network.
func TestAddressAfterAMigration(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		var from []string
		server.handler.onCall("whence", func(c *Call) {
			from = append(from, c.Session.RemoteAddr())
			answer(c, "")
		})
		r := w.client("web", server)
		ask := func() {
			st := r.stream(callStream(wire.StreamCall, "whence", 10*time.Second, "x"))
			st.Finish()
			settle()
		}
		ask()
		ask()
		elsewhere := &quic.Transport{Conn: w.socket()}
		t.Cleanup(func() { _ = elsewhere.Close() })
		path, err := r.quic.AddPath(elsewhere)
		if err != nil {
			t.Fatal(err)
		}
		if err := path.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := path.Switch(); err != nil {
			t.Fatal(err)
		}
		ask()
		settle()
		ask()
		want := elsewhere.Conn.LocalAddr().String()
		if len(from) != 4 || from[0] != from[1] || from[0] == want || from[3] != want {
			t.Errorf("the calls came from %q, want the last from %s", from, want)
		}
	})
}
