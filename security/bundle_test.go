package security_test

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/security"
)

func TestBundleRefuses(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	root := ca.Bundle().Roots()[0]
	leaf := func(opts ...securitytest.Option) *x509.Certificate {
		svid, err := ca.Source("orders", opts...).SVID()
		if err != nil {
			t.Fatal(err)
		}
		return svid.Certificate.Leaf
	}
	for _, tc := range []struct {
		name, trustDomain string
		roots             []*x509.Certificate
		about             string
	}{
		{"bad trust domain", "Mesh", []*x509.Certificate{root}, "trust domain"},
		{"no roots", "mesh.test", nil, "0 roots"},
		{"too many roots", "mesh.test", slices.Repeat([]*x509.Certificate{root}, security.MaxBundleRoots+1), "17 roots"},
		{"nil root", "mesh.test", []*x509.Certificate{root, nil}, "root 1"},
		{"unparsed root", "mesh.test", []*x509.Certificate{{IsCA: true, BasicConstraintsValid: true}}, "root 0"},
		{"leaf as root", "mesh.test", []*x509.Certificate{leaf()}, "not a CA"},
		{"weak root", "mesh.test", []*x509.Certificate{leaf(securitytest.AsCA(), securitytest.WeakRSA())}, "1024"},
	} {
		bundle, err := security.NewBundle(tc.trustDomain, tc.roots...)
		if !errors.Is(err, security.ErrInvalid) || !strings.HasPrefix(err.Error(), "security: invalid bundle") || !strings.Contains(err.Error(), tc.about) || bundle != nil {
			t.Errorf("%s: %v, want ErrInvalid about %q", tc.name, err, tc.about)
		}
	}
}

func TestBundleDoesNotChange(t *testing.T) {
	bundle := securitytest.NewCA(t, "mesh.test").Bundle()
	roots := bundle.Roots()
	roots[0] = nil
	if bundle.Roots()[0] == nil || bundle.TrustDomain() != "mesh.test" {
		t.Error("changing the returned slice changed the bundle")
	}
}
