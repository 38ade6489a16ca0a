package security

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

const (
	leafLifetime = 24 * time.Hour
	// leafBackdate makes a new leaf valid at once for a peer whose clock is a little behind.
	leafBackdate = time.Minute

	// serialBytes is the length of a random serial number.
	serialBytes = 16

	// maxPathLen of a derived root leaves room for the one certificate that crossSign puts below it.
	maxPathLen = 1
)

// An authority is a root derived from a secret. Ed25519 signatures are deterministic and everything else in the
// certificate is fixed, so every holder of the secret derives the same root, byte for byte, and it need not be sent.
type authority struct {
	trustDomain string
	key         ed25519.PrivateKey
	root        *x509.Certificate
}

// newAuthority derives the root of trustDomain. The label separates the uses of a secret: a root derived with
// another label has an unrelated key.
func newAuthority(secret []byte, label, trustDomain string) (*authority, error) {
	seed, err := hkdf.Key(sha256.New, secret, nil, label, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("security: deriving the root of %s: %w", trustDomain, err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	template := caTemplate(trustDomain, key.Public().(ed25519.PublicKey), maxPathLen) //nolint:errcheck,forcetypeassert // by its documentation
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("security: making the root of %s: %w", trustDomain, err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("security: reading the root of %s: %w", trustDomain, err)
	}
	return &authority{trustDomain: trustDomain, key: key, root: root}, nil
}

func caTemplate(trustDomain string, key ed25519.PublicKey, pathLen int) *x509.Certificate {
	// The key identifier is set here because the hash that crypto/x509 uses for it has changed between releases.
	keyID := sha256.Sum256(key)
	return &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "link root of " + trustDomain},
		URIs:         []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
		// The dates are fixed, and cover clocks that start in the past, such as in the year 2000 in testing/synctest.
		NotBefore:             time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2190, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
		KeyUsage:              x509.KeyUsageCertSign,
		SubjectKeyId:          keyID[:20],
		// PermittedDNSDomainsCritical makes all name constraints critical.
		PermittedDNSDomainsCritical: true,
		PermittedURIDomains:         []string{trustDomain},
	}
}

// crossSign returns a certificate for the key of b, issued by a. With it, nodes that know only the root of a
// accept a leaf issued by b.
func (a *authority) crossSign(b *authority) ([]byte, error) {
	template := caTemplate(b.trustDomain, b.key.Public().(ed25519.PublicKey), 0) //nolint:errcheck,forcetypeassert // by its documentation
	template.SerialNumber = big.NewInt(2)
	// crypto/x509 omits the authority key identifier when issuer and subject have the same name.
	template.AuthorityKeyId = a.root.SubjectKeyId
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, b.key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("security: signing the new root of %s with the old: %w", a.trustDomain, err)
	}
	return der, nil
}

// issue makes a leaf for id with a new key, valid from leafBackdate before now. It appends chain to the leaf.
func (a *authority) issue(id ID, now time.Time, chain [][]byte) (*SVID, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("security: making a key for %s: %w", id, err)
	}
	serial := make([]byte, serialBytes)
	// rand.Read never returns an error: crypto/rand ends the process instead.
	_, _ = rand.Read(serial)
	notAfter := now.Add(leafLifetime)
	if notAfter.After(a.root.NotAfter) {
		notAfter = a.root.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		URIs: []*url.URL{{
			Scheme: "spiffe", Host: id.TrustDomain(),
			Path: idNamespace + id.Namespace() + idService + id.Service(),
		}},
		NotBefore:             now.Add(-leafBackdate),
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("security: making a certificate for %s: %w", id, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("security: reading the certificate for %s: %w", id, err)
	}
	return &SVID{ID: id, Certificate: tls.Certificate{
		Certificate: append([][]byte{der}, chain...),
		PrivateKey:  crypto.Signer(key),
		Leaf:        leaf,
	}}, nil
}
