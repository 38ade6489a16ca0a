package mtls_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/mtls/mtlstest"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/security"
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
			clientConfig := mtls.Client(web, orders.ID(), mtls.Protocol)
			// link's own configuration has no cache.
			clientConfig.ClientSessionCache = cache
			clientConfig.SessionTicketsDisabled = false
			clientConfig.ServerName = "orders"
			serverConfig := mtls.Server(orders, mtls.Protocol)
			serverConfig.SessionTicketsDisabled = !tc.serverTickets

			first, _ := mtlstest.Handshake(t, clientConfig, serverConfig)
			if first.Err != nil || first.State.DidResume {
				t.Fatalf("first handshake: resumed %v, %v", first.State.DidResume, first.Err)
			}
			if got := cache.puts.Load(); got != tc.wantPuts {
				t.Fatalf("the client got %d tickets, want %d", got, tc.wantPuts)
			}
			second, server := mtlstest.Handshake(t, clientConfig, serverConfig)
			if tc.serverTickets {
				var refusal *security.VerifyError
				if !errors.As(server.Err, &refusal) || refusal.Reason != security.ReasonResumed || second.Err == nil {
					t.Fatalf("second handshake: client %v, server %v, want a refusal for resuming", second.Err, server.Err)
				}
				return
			}
			if second.Err != nil || second.State.DidResume || server.State.DidResume {
				t.Fatalf("second handshake: resumed %v, %v", second.State.DidResume, second.Err)
			}
		})
	}
}

func TestRevokedTrustHoldsOnTheNextHandshake(t *testing.T) { // SEC-118
	ca := securitytest.NewCA(t, "mesh.test")
	var revoked atomic.Bool
	orders := bundleSource{ca.Source("orders"), func(string) (*security.Bundle, error) {
		if revoked.Load() {
			return nil, security.ReasonTrustDomain
		}
		return ca.Bundle(), nil
	}}
	web := ca.Source("web")
	clientConfig, serverConfig := mtls.Client(web, orders.ID(), mtls.Protocol), mtls.Server(orders, mtls.Protocol)
	clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	clientConfig.SessionTicketsDisabled = false
	clientConfig.ServerName = "orders"
	if client, server := mtlstest.Handshake(t, clientConfig, serverConfig); client.Err != nil || server.Err != nil {
		t.Fatalf("first handshake: client %v, server %v", client.Err, server.Err)
	}
	revoked.Store(true)
	client, server := mtlstest.Handshake(t, clientConfig, serverConfig)
	mtlstest.ExpectRefusal(t, server.Err, security.ReasonTrustDomain, true)
	if client.Err == nil {
		t.Error("the revoked client was answered")
	}
}

func TestProtocolIsExact(t *testing.T) { // SEC-201
	ca := securitytest.NewCA(t, "mesh.test")
	web, orders := ca.Source("web"), ca.Source("orders")
	for _, offered := range [][]string{
		nil, {"h3"}, {"link/0"}, {"link/1 "}, {" link/1"}, {"LINK/1"}, {"link/10"}, {"link"}, {"link/1\x00"}, {"link-ca/1"},
	} {
		weakened := mtls.Client(web, orders.ID(), mtls.Protocol)
		weakened.NextProtos = offered
		client, server := mtlstest.Handshake(t, weakened, mtls.Server(orders, mtls.Protocol))
		if client.Err == nil || server.Err == nil {
			t.Errorf("server took a client of %q: client %v, server %v", offered, client.Err, server.Err)
		}
		weakened = mtls.Server(orders, mtls.Protocol)
		weakened.NextProtos = offered
		client, server = mtlstest.Handshake(t, mtls.Client(web, orders.ID(), mtls.Protocol), weakened)
		if client.Err == nil || server.Err == nil {
			t.Errorf("client took a server of %q: client %v, server %v", offered, client.Err, server.Err)
		}
	}
}

func TestAnotherVersionIsVerifiedAllTheSame(t *testing.T) {
	ca, foreign := securitytest.NewCA(t, "mesh.test"), securitytest.NewCA(t, "mesh.test")
	orders := ca.Source("orders")
	server := mtls.Server(orders, "link/2")

	got, _ := mtlstest.Handshake(t, mtls.Client(ca.Source("web"), orders.ID(), "link/2"), server)
	if got.Err != nil || got.State.NegotiatedProtocol != "link/2" {
		t.Errorf("negotiated %q, %v", got.State.NegotiatedProtocol, got.Err)
	}
	_, refused := mtlstest.Handshake(t, mtls.Client(ca.Source("web", securitytest.SignedBy(foreign)), orders.ID(), "link/2"), server)
	mtlstest.ExpectRefusal(t, refused.Err, security.ReasonUntrusted, true)
}

func TestOlderTLSIsRefused(t *testing.T) { // SEC-202
	ca := securitytest.NewCA(t, "mesh.test")
	web, orders := ca.Source("web"), ca.Source("orders")
	old := func(config *tls.Config) *tls.Config {
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		return config
	}
	for name, configs := range map[string][2]*tls.Config{
		"client": {old(mtls.Client(web, orders.ID(), mtls.Protocol)), mtls.Server(orders, mtls.Protocol)},
		"server": {mtls.Client(web, orders.ID(), mtls.Protocol), old(mtls.Server(orders, mtls.Protocol))},
	} {
		if client, server := mtlstest.Handshake(t, configs[0], configs[1]); client.Err == nil || server.Err == nil {
			t.Errorf("old %s: client %v, server %v", name, client.Err, server.Err)
		}
	}
	client, server := mtlstest.Handshake(t, old(mtls.Client(web, orders.ID(), mtls.Protocol)), old(mtls.Server(orders, mtls.Protocol)))
	var refusal *security.VerifyError
	if !errors.As(errors.Join(client.Err, server.Err), &refusal) || refusal.Reason != security.ReasonProtocol || refusal.Detail != "negotiated TLS 1.2, want TLS 1.3" {
		t.Errorf("both sides old: client %v, server %v, want a refusal for the version", client.Err, server.Err)
	}
}

func TestVerifierChecksTheConnectionItself(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	web, orders := ca.Source("web"), ca.Source("orders")
	good, _ := mtlstest.MustConnect(t, web, orders)
	if err := mtls.Verify(web, false, orders.ID(), good.State); err != nil {
		t.Fatalf("the state of a good handshake is refused: %v", err)
	}
	for _, tc := range []struct {
		name   string
		change func(*tls.ConnectionState)
		reason security.Reason
		detail string
	}{
		{"TLS 1.2", func(s *tls.ConnectionState) { s.Version = tls.VersionTLS12 }, security.ReasonProtocol, "negotiated TLS 1.2, want TLS 1.3"},
		{"no version", func(s *tls.ConnectionState) { s.Version = 0 }, security.ReasonProtocol, "want TLS 1.3"},
		{"no protocol", func(s *tls.ConnectionState) { s.NegotiatedProtocol = "" }, security.ReasonProtocol, `negotiated "", want "link/1"`},
		{"protocol with a space", func(s *tls.ConnectionState) { s.NegotiatedProtocol = "link/1 " }, security.ReasonProtocol, `negotiated "link/1 ", want "link/1"`},
		{"resumed", func(s *tls.ConnectionState) { s.DidResume = true }, security.ReasonResumed, ""},
		{"no certificate", func(s *tls.ConnectionState) { s.PeerCertificates = nil }, security.ReasonNoCertificate, ""},
		{"many certificates", func(s *tls.ConnectionState) {
			s.PeerCertificates = make([]*x509.Certificate, 6)
		}, security.ReasonChainTooLong, "6 certificates, at most 5 allowed"},
		{"large certificates", func(s *tls.ConnectionState) {
			s.PeerCertificates = []*x509.Certificate{{Raw: make([]byte, 17<<10)}}
		}, security.ReasonChainTooLong, "17408 bytes of certificates, at most 16384 allowed"},
		{"empty certificate", func(s *tls.ConnectionState) {
			s.PeerCertificates = []*x509.Certificate{{}}
		}, security.ReasonProfile, ""},
	} {
		state := good.State
		tc.change(&state)
		for _, accepts := range []bool{false, true} {
			var refusal *security.VerifyError
			if err := mtls.Verify(web, accepts, orders.ID(), state); !errors.As(err, &refusal) || refusal.Reason != tc.reason || !strings.Contains(refusal.Detail, tc.detail) {
				t.Errorf("%s, accepting %t: %v, want reason %v and %q", tc.name, accepts, err, tc.reason, tc.detail)
			}
		}
	}
}

func TestKeyExchangeIsPostQuantum(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	client, server := mtlstest.MustConnect(t, ca.Source("web"), ca.Source("orders"))
	for _, state := range []tls.ConnectionState{client.State, server.State} {
		if state.CurveID != tls.X25519MLKEM768 {
			t.Errorf("key exchange is %v", state.CurveID)
		}
	}
}

func TestConfigurationsAskTheSourceEveryTime(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	web, orders := ca.Source("web"), ca.Source("orders")
	clientConfig, serverConfig := mtls.Client(web, orders.ID(), mtls.Protocol), mtls.Server(orders, mtls.Protocol)
	if client, server := mtlstest.Handshake(t, clientConfig, serverConfig); client.Err != nil || server.Err != nil {
		t.Fatalf("client %v, server %v", client.Err, server.Err)
	}
	if err := orders.Close(); err != nil {
		t.Fatal(err)
	}
	client, server := mtlstest.Handshake(t, clientConfig, serverConfig)
	if !errors.Is(server.Err, security.ErrClosed) || client.Err == nil {
		t.Errorf("closed server source: client %v, server %v", client.Err, server.Err)
	}
}

func TestPeerNeedsACompleteHandshake(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	good, _ := mtlstest.MustConnect(t, ca.Source("web"), ca.Source("orders"))
	for _, tc := range []struct {
		name   string
		change func(*tls.ConnectionState)
		want   error
	}{
		{"incomplete", func(s *tls.ConnectionState) { s.HandshakeComplete = false }, mtls.ErrIncomplete},
		{"no certificate", func(s *tls.ConnectionState) { s.PeerCertificates = nil }, security.ReasonNoCertificate},
		{"not a leaf", func(s *tls.ConnectionState) { s.PeerCertificates = ca.Bundle().Roots() }, security.ReasonProfile},
	} {
		state := good.State
		tc.change(&state)
		if peer, err := mtls.PeerFromState(state); !errors.Is(err, tc.want) || peer != (mtls.Peer{}) {
			t.Errorf("%s: %v, %v, want %v", tc.name, peer, err, tc.want)
		}
	}
}
