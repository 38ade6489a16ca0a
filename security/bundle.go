package security

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/linkmesh/link/internal/certrules"
)

// maxBundleRoots is the maximum number of roots in a bundle.
const maxBundleRoots = 16

// errBadBundle is wrapped by the errors of NewBundle.
var errBadBundle = fmt.Errorf("%w bundle", ErrInvalid)

// A Bundle holds the roots of one trust domain. It is immutable and safe for concurrent use.
type Bundle struct {
	trustDomain string
	roots       []*x509.Certificate
}

// NewBundle returns the bundle of trustDomain with 1 to 16 roots. Every root must be a CA certificate
// with a key as strong as a peer's must be. At most two keys of roots with the same subject may lack a subject key
// identifier, because then only a signature check tells which of them is an issuer. The bundle keeps the certificates,
// which must not be changed afterward. Errors match ErrInvalid.
func NewBundle(trustDomain string, roots ...*x509.Certificate) (*Bundle, error) {
	if problem := checkTrustDomain(trustDomain); problem != "" {
		return nil, fmt.Errorf("%w: trust domain %s %s", errBadBundle, certrules.Quote(trustDomain), problem)
	}
	if len(roots) == 0 || len(roots) > maxBundleRoots {
		return nil, fmt.Errorf("%w of %s: %d roots, want 1 to %d", errBadBundle, trustDomain, len(roots), maxBundleRoots)
	}
	bundle := &Bundle{trustDomain: trustDomain}
	for i, root := range roots {
		switch {
		case root == nil || len(root.Raw) == 0:
			return nil, fmt.Errorf("%w of %s: root %d is not a parsed certificate", errBadBundle, trustDomain, i)
		case !root.BasicConstraintsValid || !root.IsCA:
			return nil, fmt.Errorf("%w of %s: root %d is not a CA certificate", errBadBundle, trustDomain, i)
		}
		if problem := certrules.WeakKey(root); problem != "" {
			return nil, fmt.Errorf("%w of %s: root %d: %s", errBadBundle, trustDomain, i, problem)
		}
		bundle.roots = append(bundle.roots, root)
		if n := bundle.unmarked(root); n > certrules.MaxAnchors {
			return nil, fmt.Errorf("%w of %s: %d roots named %s have no subject key identifier, at most %d may",
				errBadBundle, trustDomain, n, certrules.Subject(root), certrules.MaxAnchors)
		}
	}
	return bundle, nil
}

// unmarked counts the distinct keys of roots that have the subject of root and no subject key identifier.
func (b *Bundle) unmarked(root *x509.Certificate) int {
	keys := make(map[string]struct{}, len(b.roots))
	for _, other := range b.roots {
		if len(other.SubjectKeyId) == 0 && bytes.Equal(other.RawSubject, root.RawSubject) {
			keys[string(other.RawSubjectPublicKeyInfo)] = struct{}{}
		}
	}
	return len(keys)
}

// TrustDomain returns the name of the trust domain that the roots vouch for.
func (b *Bundle) TrustDomain() string { return b.trustDomain }

// Roots returns the roots in a new slice; the certificates are shared and must not be changed.
func (b *Bundle) Roots() []*x509.Certificate { return slices.Clone(b.roots) }
