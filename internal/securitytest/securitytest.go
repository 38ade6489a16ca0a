// Package securitytest provides a certificate authority in memory, for tests.
//
// # Overview
//
// [NewCA] makes an authority for one trust domain; [CA.Source] makes a [security.Source] of tier production for a
// service of that domain. Nodes with sources of the same CA trust each other, as in a real mesh: no check is off.
//
// Options can make a source invalid on purpose. It then behaves like an attacker: it claims an identity, sends
// the certificate that the options describe, and still trusts the honest side. Give it to one side of a handshake
// and an honest source to the other, which must refuse.
//
// # Usage
//
//	ca := securitytest.NewCA(t, "mesh.test")
//	orders := ca.Source("orders")                                     // honest
//	stale := ca.Source("mailer", securitytest.Expired())              // its leaf expired an hour ago
//	thief := ca.Source("orders", securitytest.Naming("mailer"))       // says orders, has a leaf for mailer
//	other := securitytest.NewCA(t, "mesh.test")                       // same name, other key
//	forger := ca.Source("orders", securitytest.SignedBy(other))       // right name, wrong authority
//	partner := ca.Source("web", securitytest.Trusting(federated))     // also trusts another domain
//
// # Guarantees
//
// All times are relative to time.Now at use, and authorities are valid from 1990 to 2190, so everything works inside
// and outside a testing/synctest bubble. An honest source renews its leaf when SVID is called after half its lifetime.
// An invalid leaf is made once and not renewed.
//
// # Concurrency
//
// Sources are safe for concurrent use. They start no goroutines.
//
// # Errors
//
// Errors fail the test immediately, so CA.Source must be called on the test's own goroutine.
package securitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/security"
)

// A CA is the authority of one trust domain: a root, and an intermediate below it that ViaIntermediate uses.
type CA struct {
	t            testing.TB
	trustDomain  string
	root         *authority
	intermediate *authority
	bundle       *security.Bundle
}

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// A CAOption changes an authority.
type CAOption interface{ applyCA(root *x509.Certificate) }

type caOption func(root *x509.Certificate)

func (o caOption) applyCA(root *x509.Certificate) { o(root) }

// Unconstrained omits the name constraint, so that only link's own checks restrict the authority to its domain.
func Unconstrained() CAOption {
	return caOption(func(root *x509.Certificate) { root.PermittedURIDomains = nil })
}

// NewCA returns a new authority for trustDomain, with new keys, constrained to names of the domain.
// An invalid trust domain fails the test.
func NewCA(tb testing.TB, trustDomain string, opts ...CAOption) *CA {
	tb.Helper()
	template := caTemplate("root of " + trustDomain)
	template.PermittedURIDomains = []string{trustDomain}
	template.PermittedDNSDomainsCritical = true
	for _, opt := range opts {
		opt.applyCA(template)
	}
	root := newAuthority(tb, template, nil)
	bundle, err := security.NewBundle(trustDomain, root.cert)
	if err != nil {
		tb.Fatalf("securitytest: %v", err)
	}
	return &CA{
		t:            tb,
		trustDomain:  trustDomain,
		root:         root,
		intermediate: newAuthority(tb, caTemplate("intermediate of "+trustDomain), root),
		bundle:       bundle,
	}
}

// TrustDomain returns the name of the CA's trust domain.
func (ca *CA) TrustDomain() string { return ca.trustDomain }

// Bundle returns a bundle that holds the CA's root.
func (ca *CA) Bundle() *security.Bundle { return ca.bundle }

// ID returns the identity of a service in the default namespace of the CA's trust domain.
// An invalid name fails the test.
func (ca *CA) ID(service string) security.ID {
	ca.t.Helper()
	return ca.id(discovery.DefaultNamespace, service)
}

func (ca *CA) id(namespace, service string) security.ID {
	ca.t.Helper()
	id, err := security.NewID(ca.trustDomain, namespace, service)
	if err != nil {
		ca.t.Fatalf("securitytest: %v", err)
	}
	return id
}

func caTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2190, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            -1,
		KeyUsage:              x509.KeyUsageCertSign,
	}
}

// newAuthority makes an authority with a new key, signed by parent, or self-signed if parent is nil.
func newAuthority(tb testing.TB, template *x509.Certificate, parent *authority) *authority {
	tb.Helper()
	key := newKey(tb)
	if parent == nil {
		parent = &authority{cert: template, key: key}
	}
	cert, err := x509.ParseCertificate(parent.sign(tb, template, key.Public()))
	if err != nil {
		tb.Fatalf("securitytest: reading the authority just made: %v", err)
	}
	return &authority{cert: cert, key: key}
}

// sign makes the certificate that template describes, with a random serial number if it has none.
func (a *authority) sign(tb testing.TB, template *x509.Certificate, key crypto.PublicKey) []byte {
	tb.Helper()
	if template.SerialNumber == nil {
		serial := make([]byte, 16)
		_, _ = rand.Read(serial)
		template.SerialNumber = new(big.Int).SetBytes(serial)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		tb.Fatalf("securitytest: making a certificate: %v", err)
	}
	return der
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("securitytest: making a key: %v", err)
	}
	return key
}
