package mtlstest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// LooksLikeID reports whether uri is an ID. It is independent of the implementation under test.
func LooksLikeID(uri string) bool {
	const label = `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`
	const segment = `[A-Za-z0-9][A-Za-z0-9._-]*`
	shape := regexp.MustCompile(`^spiffe://(` + label + `(?:\.` + label + `)*)/ns/` + segment + `/svc/` + segment + `$`)
	parts := shape.FindStringSubmatch(uri)
	return parts != nil && len(uri) <= 2048 && len(parts[1]) <= 255
}

// SlowCheck returns nil if an Ed25519 root vouches for leaf, presented alone, as uri. It is stricter than link where
// that makes it simpler, and shares no code with link or with x509.Certificate.Verify.
func SlowCheck(root, leaf *x509.Certificate, uri string) error {
	key, ok := root.PublicKey.(ed25519.PublicKey)
	if !ok || !ed25519.Verify(key, leaf.RawTBSCertificate, leaf.Signature) {
		return errors.New("not signed by the root")
	}
	if !bytes.Equal(leaf.RawIssuer, root.RawSubject) {
		return errors.New("names another issuer")
	}
	now := time.Now()
	for _, cert := range []*x509.Certificate{root, leaf} {
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return errors.New("outside its time")
		}
		if len(cert.UnhandledCriticalExtensions) > 0 {
			return errors.New("has a critical extension nobody knows")
		}
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != uri || !LooksLikeID(uri) {
		return fmt.Errorf("is for %v", leaf.URIs)
	}
	if bytes.Count(leaf.RawTBSCertificate, []byte(uri)) != 1 {
		return errors.New("does not hold the URI as it is")
	}
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return errors.New("may act as an authority")
	}
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("may not sign")
	}
	usages := map[x509.ExtKeyUsage]bool{}
	for _, usage := range leaf.ExtKeyUsage {
		usages[usage] = true
	}
	if !usages[x509.ExtKeyUsageClientAuth] || !usages[x509.ExtKeyUsageServerAuth] {
		return errors.New("is not for both ends")
	}
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); ok && key.Params().BitSize < 256 {
		return errors.New("has a weak key")
	}
	return nil
}
