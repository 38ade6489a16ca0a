package mtls_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/mtls/mtlstest"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/security"
)

func TestHonestPeersMeet(t *testing.T) {
	ca, partner := securitytest.NewCA(t, "mesh.test"), securitytest.NewCA(t, "partner.test")
	web := ca.Source("web", securitytest.Trusting(partner))
	for _, tc := range []struct {
		name   string
		server security.Source
	}{
		{"same authority", ca.Source("orders")},
		{"through an intermediate", ca.Source("orders", securitytest.ViaIntermediate())},
		{"another namespace", ca.Source("orders", securitytest.InNamespace("billing"))},
		{"a trusted partner's domain", partner.Source("orders", securitytest.Trusting(ca))},
		{"a DNS name beside the URI", ca.Source("orders", securitytest.MutateLeaf(func(leaf *securitytest.Leaf) {
			leaf.DNSNames = []string{"i-1.orders.mesh.test"}
		}))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, server := mtlstest.MustConnect(t, web, tc.server)
			for _, end := range []struct {
				state tls.ConnectionState
				peer  security.Source
			}{{client.State, tc.server}, {server.State, web}} {
				svid, err := end.peer.SVID()
				if err != nil {
					t.Fatal(err)
				}
				leaf := svid.Certificate.Leaf
				peer, err := mtls.PeerFromState(end.state)
				if err != nil {
					t.Fatal(err)
				}
				want := mtls.Peer{
					ID: end.peer.ID(), NotAfter: leaf.NotAfter, SPKI: spki(leaf), Serial: leaf.SerialNumber.Text(16),
				}
				if peer != want {
					t.Errorf("peer is %+v, want %+v", peer, want)
				}
			}
		})
	}
}

// An attack is a source that claims to be service orders of mesh.test.
type attack struct {
	name   string
	source security.Source
	// The reasons for which the honest side refuses it. Zero means that crypto/tls ends the handshake first.
	dialing, accepting security.Reason
}

func attacks(t *testing.T, ca *securitytest.CA) []attack {
	t.Helper()
	foreign := securitytest.NewCA(t, "mesh.test")
	unconstrained := securitytest.NewCA(t, "mesh.test", securitytest.Unconstrained())
	orders := func(opts ...securitytest.Option) security.Source { return ca.Source("orders", opts...) }
	both := func(name string, reason security.Reason, source security.Source) attack {
		return attack{name: name, source: source, dialing: reason, accepting: reason}
	}
	rows := []attack{
		both("SEC-101 no certificate", 0, orders(securitytest.NoCertificate())),
		both("SEC-102 self-signed", security.ReasonUntrusted, orders(securitytest.SelfSigned())),
		both("SEC-103 other authority, same names", security.ReasonUntrusted, orders(securitytest.SignedBy(foreign))),
		both("SEC-103 the same without a name constraint", security.ReasonUntrusted, orders(securitytest.SignedBy(unconstrained))),
		both("SEC-105 other trust domain", security.ReasonTrustDomain, orders(securitytest.WithURIs("spiffe://evil.test/ns/default/svc/orders"))),
		both("SEC-105 sub-domain", security.ReasonTrustDomain, orders(securitytest.WithURIs("spiffe://sub.mesh.test/ns/default/svc/orders"))),
		both("SEC-105 unicode look-alike", 0, orders(securitytest.WithURIs("spiffe://mеsh.test/ns/default/svc/orders"))),
		both("SEC-106 two URI names", security.ReasonProfile, orders(securitytest.WithURIs(ca.ID("orders").String(), ca.ID("web").String()))),
		both("SEC-106 the same URI twice", security.ReasonProfile, orders(securitytest.WithURIs(ca.ID("orders").String(), ca.ID("orders").String()))),
		both("SEC-107 name only in DNS and CN", security.ReasonProfile, orders(securitytest.OnlyDNSName("orders.mesh.test"))),
		both("SEC-107 no name at all", security.ReasonProfile, orders(securitytest.WithURIs())),
		both("SEC-108 leaf is a CA", security.ReasonProfile, orders(securitytest.AsCA())),
		both("SEC-108 leaf may sign certificates", security.ReasonProfile, orders(securitytest.MutateLeaf(func(leaf *securitytest.Leaf) {
			leaf.Template.BasicConstraintsValid = false // otherwise crypto/x509 refuses to make such a leaf
			leaf.Template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign
		}))),
		both("SEC-108 leaf may sign revocation lists", security.ReasonProfile,
			orders(securitytest.WithKeyUsage(x509.KeyUsageDigitalSignature|x509.KeyUsageCRLSign))),
		both("SEC-108 leaf may only encrypt", security.ReasonProfile, orders(securitytest.WithKeyUsage(x509.KeyUsageKeyEncipherment))),
		both("SEC-108 key usage not critical", security.ReasonProfile, orders(securitytest.MutateLeaf(func(leaf *securitytest.Leaf) {
			leaf.Template.ExtraExtensions = append(leaf.Template.ExtraExtensions, pkix.Extension{
				Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{3, 2, 7, 0x80},
			})
		}))),
		both("SEC-109 leaf as issuer", security.ReasonUntrusted, leafAsIssuer(t, ca)),
		both("SEC-112 expired", security.ReasonExpired, orders(securitytest.Expired())),
		both("SEC-112 not yet valid", security.ReasonNotYetValid, orders(securitytest.NotYetValid())),
		both("SEC-113 client only", security.ReasonUsage, orders(securitytest.WithExtKeyUsage(x509.ExtKeyUsageClientAuth))),
		both("SEC-113 server only", security.ReasonUsage, orders(securitytest.WithExtKeyUsage(x509.ExtKeyUsageServerAuth))),
		both("SEC-113 any usage", security.ReasonUsage, orders(securitytest.WithExtKeyUsage(x509.ExtKeyUsageAny))),
		both("SEC-113 no usage", security.ReasonUsage, orders(securitytest.WithExtKeyUsage())),
		both("SEC-114 missing intermediate", security.ReasonUntrusted, orders(securitytest.ViaIntermediate(),
			securitytest.MutateChain(func(chain [][]byte) [][]byte { return chain[:1] }))),
		both("SEC-114 wrong order", security.ReasonProfile, orders(securitytest.ViaIntermediate(),
			securitytest.MutateChain(func(chain [][]byte) [][]byte { return [][]byte{chain[1], chain[0]} }))),
		both("SEC-114 six certificates", security.ReasonChainTooLong, orders(padded(6))),
		both("SEC-114 fifty certificates", security.ReasonChainTooLong, orders(padded(50))),
		both("SEC-114 large certificate", security.ReasonChainTooLong, orders(bloated(17<<10))),
		both("SEC-114 certificate of 1 MiB", 0, orders(bloated(1<<20))),
		both("SEC-115 RSA-1024", security.ReasonWeak, orders(securitytest.WeakRSA())),
		{
			name: "SEC-115 P-224", accepting: security.ReasonWeak, // crypto/tls cannot serve with such a key
			source: orders(securitytest.MutateLeaf(func(leaf *securitytest.Leaf) { leaf.Key = mustKey(t, elliptic.P224()) })),
		},
		{
			name: "SEC-104 same authority, other service", source: orders(securitytest.Naming("mailer")),
			dialing: security.ReasonWrongIdentity,
		},
		{
			name: "SEC-104 same service, other namespace", source: orders(securitytest.WithURIs("spiffe://mesh.test/ns/evil/svc/orders")),
			dialing: security.ReasonWrongIdentity,
		},
		{
			name: "SEC-104 same service, other case", source: orders(securitytest.Naming("Orders")),
			dialing: security.ReasonWrongIdentity,
		},
	}
	for _, uri := range mtlstest.MalformedURIs() {
		source, reason := orders(securitytest.WithURIs(uri)), security.ReasonMalformedID
		if svid, err := source.SVID(); err != nil || svid.Certificate.Leaf == nil {
			reason = 0 // crypto/x509 cannot parse the certificate
		}
		rows = append(rows, both("SEC-105 URI "+uri, reason, source))
	}
	return rows
}

func TestAttackersAreRefused(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	honest := ca.Source("web")
	for _, tc := range attacks(t, ca) {
		t.Run(tc.name, func(t *testing.T) {
			t.Run("by the dialing side", func(t *testing.T) {
				client, server := mtlstest.Handshake(t, mtls.Client(honest, ca.ID("orders"), mtls.Protocol), mtls.Server(tc.source, mtls.Protocol))
				mtlstest.ExpectRefusal(t, client.Err, tc.dialing, false)
				if server.Err == nil {
					t.Error("the attacker's handshake succeeded")
				}
			})
			t.Run("by the accepting side", func(t *testing.T) {
				client, server := mtlstest.Handshake(t, mtls.Client(tc.source, honest.ID(), mtls.Protocol), mtls.Server(honest, mtls.Protocol))
				if tc.accepting == 0 && tc.dialing == security.ReasonWrongIdentity {
					// Any service of the domain may connect. Its proven name decides what it may do.
					peer, err := mtls.PeerFromState(server.State)
					if err != nil || peer.ID == tc.source.ID() {
						t.Errorf("peer is %v, %v: not the name it can prove", peer.ID, err)
					}
					return
				}
				mtlstest.ExpectRefusal(t, server.Err, tc.accepting, true)
				if client.Err == nil {
					t.Error("the attacker was answered")
				}
			})
		})
	}
}

func leafAsIssuer(t *testing.T, ca *securitytest.CA) security.Source {
	t.Helper()
	svid, err := ca.Source("web").SVID()
	if err != nil {
		t.Fatal(err)
	}
	stolen, ok := svid.Certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("key is a %T", svid.Certificate.PrivateKey)
	}
	key := mustKey(t, elliptic.P256())
	return ca.Source("orders",
		securitytest.MutateLeaf(func(leaf *securitytest.Leaf) { leaf.Key = key }),
		securitytest.MutateChain(func(chain [][]byte) [][]byte {
			template, err := x509.ParseCertificate(chain[0])
			if err != nil {
				t.Fatal(err)
			}
			template.RawSubject, template.Subject = nil, pkix.Name{CommonName: "orders"} // the issuer's is empty
			der, err := x509.CreateCertificate(rand.Reader, template, svid.Certificate.Leaf, key.Public(), stolen)
			if err != nil {
				t.Fatal(err)
			}
			return [][]byte{der, svid.Certificate.Certificate[0]}
		}))
}

// padded presents a chain of n copies of the leaf.
func padded(n int) securitytest.Option {
	return securitytest.MutateChain(func(chain [][]byte) [][]byte { return slices.Repeat(chain[:1], n) })
}

// bloated makes a leaf with an extension of n bytes.
func bloated(n int) securitytest.Option {
	return securitytest.MutateLeaf(func(leaf *securitytest.Leaf) {
		leaf.Template.ExtraExtensions = append(leaf.Template.ExtraExtensions, pkix.Extension{
			Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Value: bytes.Repeat([]byte{0}, n),
		})
	})
}

func mustKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestPartnerCannotNameOurServices(t *testing.T) { // SEC-110
	ours := securitytest.NewCA(t, "mesh.test")
	partner := securitytest.NewCA(t, "partner.test", securitytest.Unconstrained())
	honest := ours.Source("web", securitytest.Trusting(partner))
	mtlstest.MustConnect(t, honest, partner.Source("orders", securitytest.Trusting(ours)))

	forger := ours.Source("orders", securitytest.SignedBy(partner))
	client, _ := mtlstest.Connect(t, honest, forger)
	mtlstest.ExpectRefusal(t, client.Err, security.ReasonUntrusted, false)
	_, server := mtlstest.Connect(t, forger, honest)
	mtlstest.ExpectRefusal(t, server.Err, security.ReasonUntrusted, true)
}

func TestAuthorityIsHeldToItsNameConstraint(t *testing.T) { // SEC-111
	ca := securitytest.NewCA(t, "mesh.test") // constrained to mesh.test
	other, err := security.NewBundle("other.test", ca.Bundle().Roots()...)
	if err != nil {
		t.Fatal(err)
	}
	honest := ca.Source("web")
	trusting := bundleSource{honest, func(string) (*security.Bundle, error) { return other, nil }}
	attacker := ca.Source("orders", securitytest.WithURIs("spiffe://other.test/ns/default/svc/orders"))
	client, _ := mtlstest.Handshake(t,
		mtls.Client(trusting, mtlstest.MustID(t, "spiffe://other.test/ns/default/svc/orders"), mtls.Protocol), mtls.Server(attacker, mtls.Protocol))
	mtlstest.ExpectRefusal(t, client.Err, security.ReasonNameConstraint, false)
}

func TestVerifierFailsClosedOnBadBundles(t *testing.T) {
	ca, partner := securitytest.NewCA(t, "mesh.test"), securitytest.NewCA(t, "partner.test")
	down := errors.New("the source is down")
	for _, tc := range []struct {
		name   string
		bundle *security.Bundle
		err    error
		reason security.Reason
	}{
		{"source fails", nil, down, security.ReasonBundle},
		{"nothing and no error", nil, nil, security.ReasonBundle},
		{"bundle of another domain", partner.Bundle(), nil, security.ReasonBundle},
		{"unknown domain", nil, security.ReasonTrustDomain, security.ReasonTrustDomain},
	} {
		t.Run(tc.name, func(t *testing.T) {
			honest := bundleSource{ca.Source("web"), func(string) (*security.Bundle, error) { return tc.bundle, tc.err }}
			client, _ := mtlstest.Connect(t, honest, ca.Source("orders"))
			mtlstest.ExpectRefusal(t, client.Err, tc.reason, false)
			if tc.err != nil && !errors.Is(client.Err, tc.err) {
				t.Errorf("%v does not match its cause", client.Err)
			}
		})
	}
}

func TestNobodyIsTheZeroID(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	client, _ := mtlstest.Handshake(t, mtls.Client(ca.Source("web"), security.ID{}, mtls.Protocol), mtls.Server(ca.Source("orders"), mtls.Protocol))
	var refusal *security.VerifyError
	if !errors.As(client.Err, &refusal) || refusal.Reason != security.ReasonWrongIdentity {
		t.Errorf("refused with %v, want wrong identity", client.Err)
	}
}

func TestValidityAtItsBoundaries(t *testing.T) { // SEC-112
	for _, tc := range []struct {
		name         string
		begins, ends time.Duration   // relative to now
		reason       security.Reason // 0: accepted
	}{
		{"ends now", -time.Hour, 0, 0},
		{"ended a second ago", -time.Hour, -time.Second, security.ReasonExpired},
		{"ended a minute ago", -time.Hour, -time.Minute, security.ReasonExpired},
		{"ended an hour ago", -2 * time.Hour, -time.Hour, security.ReasonExpired},
		{"begins now", 0, time.Hour, 0},
		{"begins in a second", time.Second, time.Hour, security.ReasonNotYetValid},
		{"begins in a minute", time.Minute, time.Hour, security.ReasonNotYetValid},
		{"begins in an hour", time.Hour, 2 * time.Hour, security.ReasonNotYetValid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // the bubble's clock stands still, on a whole second
				ca := securitytest.NewCA(t, "mesh.test")
				server := ca.Source("orders", securitytest.MutateLeaf(func(leaf *securitytest.Leaf) {
					leaf.Template.NotBefore = time.Now().Add(tc.begins)
					leaf.Template.NotAfter = time.Now().Add(tc.ends)
				}))
				if tc.reason == 0 {
					mtlstest.MustConnect(t, ca.Source("web"), server)
					return
				}
				client, _ := mtlstest.Connect(t, ca.Source("web"), server)
				mtlstest.ExpectRefusal(t, client.Err, tc.reason, false)
			})
		})
	}
}
