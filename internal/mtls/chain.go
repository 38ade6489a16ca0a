package mtls

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/linkmesh/link/internal/certrules"
	"github.com/linkmesh/link/security"
)

// A chain is the list of certificates that a peer sent, leaf first, while it is being verified.
//
// It is verified from a root down, each certificate with the key of the one above it, which is verified by then. A key
// that is not verified is never used: an attacker can make any number of certificates, with the slowest possible keys,
// and a path search through them, like that of x509.Certificate.Verify, would cost as much as the attacker wants.
type chain struct {
	certs []*x509.Certificate
	usage x509.ExtKeyUsage
	now   time.Time

	// checks counts the signatures that were checked, and those that Verify may have checked.
	checks int
}

// An anchor is the claim, made by the names of both, that root issued the certificate with index at.
type anchor struct {
	at   int
	root *x509.Certificate
}

// errNotSigned means that an anchor's claim is false: the signature is not the root's.
var errNotSigned = errors.New("the key of that root did not sign it")

// prove verifies that the chain leads to one of the roots.
func (c *chain) prove(bundle *security.Bundle) error {
	anchors := c.anchors(bundle.Roots())
	if len(anchors) == 0 {
		return fmt.Errorf("no root of %s is the issuer of any certificate shown, the last of which names %s",
			bundle.TrustDomain(), certrules.Issuer(c.certs[len(c.certs)-1]))
	}
	var err error
	for _, a := range anchors[:min(len(anchors), certrules.MaxAnchors)] {
		if err = c.descend(a); err == nil || !errors.Is(err, errNotSigned) {
			break
		}
	}
	return err
}

// anchors returns the anchors of the chain, the likeliest first: those nearer to the leaf, and among these the ones
// that name the root's key.
func (c *chain) anchors(roots []*x509.Certificate) []anchor {
	var out []anchor
	for i, cert := range c.certs {
		from := len(out)
		for _, root := range roots {
			same := func(a anchor) bool {
				return bytes.Equal(a.root.RawSubjectPublicKeyInfo, root.RawSubjectPublicKeyInfo)
			}
			if !namesIssuer(cert, root) {
				continue
			}
			if known := slices.IndexFunc(out[from:], same); known < 0 {
				out = append(out, anchor{i, root})
			} else if a := &out[from+known]; !validAt(a.root, c.now) {
				// Both are certificates of one root, renewed with the same key. Prefer the one that is valid.
				a.root = root
			}
		}
		slices.SortStableFunc(out[from:], func(a, b anchor) int { return cmp.Compare(b.strength(cert), a.strength(cert)) })
	}
	return out
}

// validAt reports whether a time is within the dates of a certificate.
func validAt(cert *x509.Certificate, now time.Time) bool {
	return !now.Before(cert.NotBefore) && !now.After(cert.NotAfter)
}

// strength returns 1 if the certificate has the root's key identifier, 0 if it has only the root's name.
func (a anchor) strength(cert *x509.Certificate) int {
	if len(cert.AuthorityKeyId) > 0 && bytes.Equal(cert.AuthorityKeyId, a.root.SubjectKeyId) {
		return 1
	}
	return 0
}

// namesIssuer reports whether cert names parent as its issuer: by name, and by key identifier if both have one.
func namesIssuer(cert, parent *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, parent.RawSubject) &&
		(len(cert.AuthorityKeyId) == 0 || len(parent.SubjectKeyId) == 0 || bytes.Equal(cert.AuthorityKeyId, parent.SubjectKeyId))
}

// descend verifies the signatures of the authorities below the root, top down. It leaves the leaf's signature and the
// constraints of the authorities to x509.Certificate.Verify, which sees only authorities with verified signatures.
func (c *chain) descend(a anchor) error {
	for i := range a.at {
		if !namesIssuer(c.certs[i], c.certs[i+1]) {
			return fmt.Errorf("certificate %d was not issued by the next one shown", i)
		}
	}
	parent := a.root
	for i := a.at; i > 0; i-- {
		cert := c.certs[i]
		if !cert.BasicConstraintsValid || !cert.IsCA {
			return fmt.Errorf("certificate %d is not an authority, but issued another", i)
		}
		c.checks++
		if err := cert.CheckSignatureFrom(parent); err != nil {
			return c.unsigned(a, i, err)
		}
		parent = cert
	}
	return c.verify(a)
}

func (c *chain) unsigned(a anchor, i int, err error) error {
	if i == a.at {
		return fmt.Errorf("certificate %d names the root %s as its issuer: %w: %w", i, certrules.Subject(a.root), errNotSigned, err)
	}
	return fmt.Errorf("certificate %d names the next one as its issuer, whose key did not sign it: %w", i, err)
}

// verify checks validity, path length, names and usage of the chain below the root. All authorities in it are verified.
// Each certificate has one possible issuer here, so there is no path to search.
func (c *chain) verify(a anchor) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(a.root)
	for _, cert := range c.certs[1 : a.at+1] {
		intermediates.AddCert(cert)
	}
	_, err := c.certs[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{c.usage},
		CurrentTime:   c.now,
	})
	c.checks += c.issuers(c.certs[0], a)
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		return c.unsigned(a, 0, err)
	}
	for _, cert := range c.certs[1 : a.at+1] {
		c.checks += c.issuers(cert, a)
	}
	return err
}

// issuers counts the verified certificates that have the name of the issuer of cert: one, or two while a root and the
// key that replaces it, cross-signed by it, have the same name.
func (c *chain) issuers(cert *x509.Certificate, a anchor) int {
	n := 0
	for _, other := range c.certs[1 : a.at+1] {
		if bytes.Equal(cert.RawIssuer, other.RawSubject) {
			n++
		}
	}
	if bytes.Equal(cert.RawIssuer, a.root.RawSubject) {
		n++
	}
	return n
}

// repeated says which two certificates have the same subject or the same key, or returns "". An honest chain has no
// such pair, and a path search is long only if there are some.
func repeated(certs []*x509.Certificate) string {
	for i, a := range certs {
		for j, b := range certs[:i] {
			switch {
			case bytes.Equal(a.RawSubject, b.RawSubject):
				return fmt.Sprintf("certificates %d and %d have the same subject", j, i)
			case bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo):
				return fmt.Sprintf("certificates %d and %d have the same key", j, i)
			}
		}
	}
	return ""
}
