package mtls_test

import (
	"crypto/sha256"
	"crypto/x509"
	"testing"

	"github.com/linkmesh/link/security"
)

// bundleSource is a source whose bundles come from a function.
type bundleSource struct {
	security.Source
	bundle func(trustDomain string) (*security.Bundle, error)
}

func (s bundleSource) Bundle(trustDomain string) (*security.Bundle, error) {
	return s.bundle(trustDomain)
}

func mustCluster(tb testing.TB, secret, service string) security.Source {
	tb.Helper()
	src, err := security.NewClusterSource(secret, service, "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := src.Close(); err != nil {
			tb.Error(err)
		}
	})
	return src
}

// testSecret is a fixed secret of 32 bytes.
func testSecret() []byte {
	secret := sha256.Sum256([]byte("link test secret"))
	return secret[:]
}

func spki(cert *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}
