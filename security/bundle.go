package security

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// MaxBundleRoots is the most roots one bundle holds.
const MaxBundleRoots = 16

var (
	// ErrBadBundle is matched by the errors of NewBundle.
	ErrBadBundle = errors.New("security: invalid bundle")
	// ErrUnknownTrustDomain is matched when a source has no bundle for a trust domain.
	ErrUnknownTrustDomain = errors.New("security: unknown trust domain")
)

// A Bundle is the roots of one trust domain. It does not change once made and is safe for concurrent use.
type Bundle struct {
	trustDomain string
	roots       []*x509.Certificate
	pool        *x509.CertPool
}

// NewBundle returns the bundle of trustDomain with 1 to MaxBundleRoots roots. Every root must be a CA certificate
// with a key as strong as peers must have. The bundle keeps the certificates, which must not be changed afterward.
// Its errors match ErrBadBundle.
func NewBundle(trustDomain string, roots ...*x509.Certificate) (*Bundle, error) {
	if problem := checkTrustDomain(trustDomain); problem != "" {
		return nil, fmt.Errorf("%w: trust domain %s %s", ErrBadBundle, quote(trustDomain), problem)
	}
	if len(roots) == 0 || len(roots) > MaxBundleRoots {
		return nil, fmt.Errorf("%w of %s: %d roots, want 1 to %d", ErrBadBundle, trustDomain, len(roots), MaxBundleRoots)
	}
	pool := x509.NewCertPool()
	for i, root := range roots {
		switch {
		case root == nil || len(root.Raw) == 0:
			return nil, fmt.Errorf("%w of %s: root %d is not a parsed certificate", ErrBadBundle, trustDomain, i)
		case !root.BasicConstraintsValid || !root.IsCA:
			return nil, fmt.Errorf("%w of %s: root %d is not a CA certificate", ErrBadBundle, trustDomain, i)
		}
		if problem := weakKey(root); problem != "" {
			return nil, fmt.Errorf("%w of %s: root %d: %s", ErrBadBundle, trustDomain, i, problem)
		}
		pool.AddCert(root)
	}
	return &Bundle{trustDomain: trustDomain, roots: slices.Clone(roots), pool: pool}, nil
}

// TrustDomain is the name of the trust domain the roots vouch for.
func (b *Bundle) TrustDomain() string { return b.trustDomain }

// Roots returns the roots in a slice of the caller's own; the certificates are shared and must not be changed.
func (b *Bundle) Roots() []*x509.Certificate { return slices.Clone(b.roots) }
