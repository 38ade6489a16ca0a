package security

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxAnchors is how many claims to stand directly below a root are looked into. Each costs a check of a signature with
// the key of a root. One is the honest peer's; the second is for two roots of one name without key identifiers, of
// which only the signature says which one it was.
const maxAnchors = 2

// A chain is what a peer showed, leaf first, on its way to being proven.
//
// It is walked from a root down, each certificate with the key of the one above it, which is proven by then. A key
// that is not proven is never used: a stranger makes as many certificates as it likes, with the slowest keys there are,
// and a search for a path through them, as x509.Certificate.Verify does it, costs as much as the stranger wants.
type chain struct {
	certs []*x509.Certificate
	usage x509.ExtKeyUsage
	now   time.Time

	checks int // signatures that were checked, and those that Verify may have checked
}

// An anchor is a claim: that root has issued certificate number at, by the names that both have.
type anchor struct {
	at   int
	root *trusted
}

// maxPrinted is how long the DER of a name may be that is printed whole. Package pkix takes time and memory for it that
// grow with the square of its length, and a stranger fills a certificate with one name.
const maxPrinted = 256

func issuerOf(cert *x509.Certificate) string  { return printed(cert.RawIssuer, &cert.Issuer) }
func subjectOf(cert *x509.Certificate) string { return printed(cert.RawSubject, &cert.Subject) }

// printed returns a name for an error: of a long one only its common name.
func printed(raw []byte, name *pkix.Name) string {
	if len(raw) <= maxPrinted {
		return quote(name.String())
	}
	return fmt.Sprintf("%s (of a name of %d bytes)", quote("CN="+name.CommonName), len(raw))
}

// errNotSigned means that an anchor's claim was false, which only the signature tells.
var errNotSigned = errors.New("the key of that root did not sign it")

// prove checks that the chain leads to one of the roots.
func (c *chain) prove(bundle *Bundle) error {
	anchors := c.anchors(bundle.roots)
	if len(anchors) == 0 {
		return fmt.Errorf("no root of %s is the issuer of any certificate shown, the last of which names %s",
			bundle.trustDomain, issuerOf(c.certs[len(c.certs)-1]))
	}
	var err error
	for _, a := range anchors[:min(len(anchors), maxAnchors)] {
		if err = c.descend(a); err == nil || !errors.Is(err, errNotSigned) {
			break
		}
	}
	return err
}

// anchors returns the claims that the chain makes, the likeliest first: what is nearer to the leaf, and then what names
// the key.
func (c *chain) anchors(roots []trusted) []anchor {
	var out []anchor
	for i, cert := range c.certs {
		from := len(out)
		for r := range roots {
			root := &roots[r]
			same := func(a anchor) bool {
				return bytes.Equal(a.root.cert.RawSubjectPublicKeyInfo, root.cert.RawSubjectPublicKeyInfo)
			}
			if !namesIssuer(cert, root.cert) {
				continue
			}
			if known := slices.IndexFunc(out[from:], same); known < 0 {
				out = append(out, anchor{i, root})
			} else if a := &out[from+known]; !a.root.validAt(c.now) { // it was renewed with its key: the one that is valid counts
				a.root = root
			}
		}
		slices.SortStableFunc(out[from:], func(a, b anchor) int { return cmp.Compare(b.strength(cert), a.strength(cert)) })
	}
	return out
}

// strength is 1 if the certificate names the root's key, 0 if only its name.
func (a anchor) strength(cert *x509.Certificate) int {
	if len(cert.AuthorityKeyId) > 0 && bytes.Equal(cert.AuthorityKeyId, a.root.cert.SubjectKeyId) {
		return 1
	}
	return 0
}

// namesIssuer reports whether cert says that it was issued by parent: by name, and by key identifier if both have one.
func namesIssuer(cert, parent *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, parent.RawSubject) &&
		(len(cert.AuthorityKeyId) == 0 || len(parent.SubjectKeyId) == 0 || bytes.Equal(cert.AuthorityKeyId, parent.SubjectKeyId))
}

// descend proves the authorities below the root, top down. What is left, the leaf's signature and what the authorities
// may vouch for, is for x509.Certificate.Verify, which by then knows of nothing that is not proven.
func (c *chain) descend(a anchor) error {
	for i := range a.at {
		if !namesIssuer(c.certs[i], c.certs[i+1]) {
			return fmt.Errorf("certificate %d was not issued by the next one shown", i)
		}
	}
	parent := a.root.cert
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
		return fmt.Errorf("certificate %d names the root %s as its issuer: %w: %w", i, subjectOf(a.root.cert), errNotSigned, err)
	}
	return fmt.Errorf("certificate %d names the next one as its issuer, whose key did not sign it: %w", i, err)
}

// verify applies what the root and the authorities, all proven, say about the leaf: validity, path length, names, usage.
// Each certificate has one possible issuer here, so there is nothing to search.
func (c *chain) verify(a anchor) error {
	intermediates := x509.NewCertPool()
	for _, cert := range c.certs[1 : a.at+1] {
		intermediates.AddCert(cert)
	}
	_, err := c.certs[0].Verify(x509.VerifyOptions{
		Roots:         a.root.pool,
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

// issuers is how many proven certificates have the name of the issuer of cert: one, or two while a root and the key that
// replaces it, signed by it, have one name.
func (c *chain) issuers(cert *x509.Certificate, a anchor) int {
	n := 0
	for _, other := range c.certs[1 : a.at+1] {
		if bytes.Equal(cert.RawIssuer, other.RawSubject) {
			n++
		}
	}
	if bytes.Equal(cert.RawIssuer, a.root.cert.RawSubject) {
		n++
	}
	return n
}

// repeated says which two certificates have the same subject or the same key, or nothing. No honest chain has any, and
// a search for a path is only long where there are some.
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
