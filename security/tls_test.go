package security_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/linkmesh/link/security"
	"github.com/linkmesh/link/security/securitytest"
)

// countingCache is a session cache that counts the sessions put into it.
type countingCache struct {
	tls.ClientSessionCache

	puts atomic.Int64
}

func (c *countingCache) Put(key string, session *tls.ClientSessionState) {
	if session != nil {
		c.puts.Add(1)
	}
	c.ClientSessionCache.Put(key, session)
}

func TestSessionsAreNeverResumed(t *testing.T) { // SEC-118
	ca := securitytest.NewCA(t, "mesh.test")
	web, orders := ca.Source("web"), ca.Source("orders")
	for _, tc := range []struct {
		name string
		// serverTickets is set for a foreign server, or one that was weakened.
		serverTickets bool
		wantPuts      int64
	}{
		{"link's server gives no tickets", false, 0},
		{"a server that gives tickets is refused the second time", true, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cache := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
			clientConfig := security.ClientTLS(web, orders.ID())
			// link's own configuration has no cache.
			clientConfig.ClientSessionCache = cache
			clientConfig.SessionTicketsDisabled = false
			clientConfig.ServerName = "orders"
			serverConfig := security.ServerTLS(orders)
			serverConfig.SessionTicketsDisabled = !tc.serverTickets

			first, _ := handshake(t, clientConfig, serverConfig)
			if first.err != nil || first.state.DidResume {
				t.Fatalf("first handshake: resumed %v, %v", first.state.DidResume, first.err)
			}
			if got := cache.puts.Load(); got != tc.wantPuts {
				t.Fatalf("the client got %d tickets, want %d", got, tc.wantPuts)
			}
			second, server := handshake(t, clientConfig, serverConfig)
			if tc.serverTickets {
				var refusal *security.VerifyError
				if !errors.As(server.err, &refusal) || refusal.Reason != security.ReasonResumed || second.err == nil {
					t.Fatalf("second handshake: client %v, server %v, want a refusal for resuming", second.err, server.err)
				}
				return
			}
			if second.err != nil || second.state.DidResume || server.state.DidResume {
				t.Fatalf("second handshake: resumed %v, %v", second.state.DidResume, second.err)
			}
		})
	}
}

func TestRevokedTrustHoldsOnTheNextHandshake(t *testing.T) { // SEC-118
	ca := securitytest.NewCA(t, "mesh.test")
	var revoked atomic.Bool
	orders := bundleSource{ca.Source("orders"), func(string) (*security.Bundle, error) {
		if revoked.Load() {
			return nil, security.ErrUnknownTrustDomain
		}
		return ca.Bundle(), nil
	}}
	web := ca.Source("web")
	clientConfig, serverConfig := security.ClientTLS(web, orders.ID()), security.ServerTLS(orders)
	clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	clientConfig.SessionTicketsDisabled = false
	clientConfig.ServerName = "orders"
	if client, server := handshake(t, clientConfig, serverConfig); client.err != nil || server.err != nil {
		t.Fatalf("first handshake: client %v, server %v", client.err, server.err)
	}
	revoked.Store(true)
	client, server := handshake(t, clientConfig, serverConfig)
	expectRefusal(t, server.err, security.ReasonTrustDomain, security.RoleServer)
	if client.err == nil {
		t.Error("the revoked client was answered")
	}
}

func TestProtocolIsExact(t *testing.T) { // SEC-201
	ca := securitytest.NewCA(t, "mesh.test")
	web, orders := ca.Source("web"), ca.Source("orders")
	for _, offered := range [][]string{
		nil, {"h3"}, {"link/0"}, {"link/1 "}, {" link/1"}, {"LINK/1"}, {"link/10"}, {"link"}, {"link/1\x00"}, {"link-ca/1"},
	} {
		weakened := security.ClientTLS(web, orders.ID())
		weakened.NextProtos = offered
		client, server := handshake(t, weakened, security.ServerTLS(orders))
		if client.err == nil || server.err == nil {
			t.Errorf("server took a client of %q: client %v, server %v", offered, client.err, server.err)
		}
		weakened = security.ServerTLS(orders)
		weakened.NextProtos = offered
		client, server = handshake(t, security.ClientTLS(web, orders.ID()), weakened)
		if client.err == nil || server.err == nil {
			t.Errorf("client took a server of %q: client %v, server %v", offered, client.err, server.err)
		}
	}
}

func TestAnotherVersionIsVerifiedAllTheSame(t *testing.T) {
	ca, foreign := securitytest.NewCA(t, "mesh.test"), securitytest.NewCA(t, "mesh.test")
	orders := ca.Source("orders")
	server := security.ServerTLSFor(orders, "link/2")

	got, _ := handshake(t, security.ClientTLSFor(ca.Source("web"), orders.ID(), "link/2"), server)
	if got.err != nil || got.state.NegotiatedProtocol != "link/2" {
		t.Errorf("negotiated %q, %v", got.state.NegotiatedProtocol, got.err)
	}
	_, refused := handshake(t, security.ClientTLSFor(ca.Source("web", securitytest.SignedBy(foreign)), orders.ID(), "link/2"), server)
	expectRefusal(t, refused.err, security.ReasonUntrusted, security.RoleServer)
}

func TestOlderTLSIsRefused(t *testing.T) { // SEC-202
	ca := securitytest.NewCA(t, "mesh.test")
	web, orders := ca.Source("web"), ca.Source("orders")
	old := func(config *tls.Config) *tls.Config {
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		return config
	}
	for name, configs := range map[string][2]*tls.Config{
		"client": {old(security.ClientTLS(web, orders.ID())), security.ServerTLS(orders)},
		"server": {security.ClientTLS(web, orders.ID()), old(security.ServerTLS(orders))},
	} {
		if client, server := handshake(t, configs[0], configs[1]); client.err == nil || server.err == nil {
			t.Errorf("old %s: client %v, server %v", name, client.err, server.err)
		}
	}
	client, server := handshake(t, old(security.ClientTLS(web, orders.ID())), old(security.ServerTLS(orders)))
	var refusal *security.VerifyError
	if !errors.As(errors.Join(client.err, server.err), &refusal) || refusal.Reason != security.ReasonVersion {
		t.Errorf("both sides old: client %v, server %v, want a refusal for the version", client.err, server.err)
	}
}

func TestVerifierChecksTheConnectionItself(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	web, orders := ca.Source("web"), ca.Source("orders")
	good, _ := mustConnect(t, web, orders)
	if err := security.Verify(web, security.RoleClient, orders.ID(), good.state); err != nil {
		t.Fatalf("the state of a good handshake is refused: %v", err)
	}
	for _, tc := range []struct {
		name   string
		change func(*tls.ConnectionState)
		reason security.Reason
	}{
		{"TLS 1.2", func(s *tls.ConnectionState) { s.Version = tls.VersionTLS12 }, security.ReasonVersion},
		{"no version", func(s *tls.ConnectionState) { s.Version = 0 }, security.ReasonVersion},
		{"no protocol", func(s *tls.ConnectionState) { s.NegotiatedProtocol = "" }, security.ReasonProtocol},
		{"protocol with a space", func(s *tls.ConnectionState) { s.NegotiatedProtocol = "link/1 " }, security.ReasonProtocol},
		{"resumed", func(s *tls.ConnectionState) { s.DidResume = true }, security.ReasonResumed},
		{"no certificate", func(s *tls.ConnectionState) { s.PeerCertificates = nil }, security.ReasonNoCertificate},
		{"empty certificate", func(s *tls.ConnectionState) {
			s.PeerCertificates = []*x509.Certificate{{}}
		}, security.ReasonProfile},
	} {
		state := good.state
		tc.change(&state)
		for _, role := range []security.Role{security.RoleClient, security.RoleServer} {
			var refusal *security.VerifyError
			if err := security.Verify(web, role, orders.ID(), state); !errors.As(err, &refusal) || refusal.Reason != tc.reason {
				t.Errorf("%s as %v: %v, want reason %v", tc.name, role, err, tc.reason)
			}
		}
	}
}

func TestKeyExchangeIsPostQuantum(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	client, server := mustConnect(t, ca.Source("web"), ca.Source("orders"))
	for _, state := range []tls.ConnectionState{client.state, server.state} {
		if state.CurveID != tls.X25519MLKEM768 {
			t.Errorf("key exchange is %v", state.CurveID)
		}
	}
}

func TestConfigurationsAskTheSourceEveryTime(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	web, orders := ca.Source("web"), ca.Source("orders")
	clientConfig, serverConfig := security.ClientTLS(web, orders.ID()), security.ServerTLS(orders)
	if client, server := handshake(t, clientConfig, serverConfig); client.err != nil || server.err != nil {
		t.Fatalf("client %v, server %v", client.err, server.err)
	}
	if err := orders.Close(); err != nil {
		t.Fatal(err)
	}
	client, server := handshake(t, clientConfig, serverConfig)
	if !errors.Is(server.err, security.ErrClosed) || client.err == nil {
		t.Errorf("closed server source: client %v, server %v", client.err, server.err)
	}
}

func TestPeerNeedsACompleteHandshake(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	good, _ := mustConnect(t, ca.Source("web"), ca.Source("orders"))
	for _, tc := range []struct {
		name   string
		change func(*tls.ConnectionState)
		want   error
	}{
		{"incomplete", func(s *tls.ConnectionState) { s.HandshakeComplete = false }, security.ErrHandshake},
		{"no certificate", func(s *tls.ConnectionState) { s.PeerCertificates = nil }, security.ErrNoCertificate},
		{"not a leaf", func(s *tls.ConnectionState) { s.PeerCertificates = ca.Bundle().Roots() }, security.ErrBadCertificate},
	} {
		state := good.state
		tc.change(&state)
		if peer, err := security.PeerFromState(state); !errors.Is(err, tc.want) || peer != (security.Peer{}) {
			t.Errorf("%s: %v, %v, want %v", tc.name, peer, err, tc.want)
		}
	}
}
