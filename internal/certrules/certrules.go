// Package certrules judges a certificate by itself, and names it in errors. It stands apart so that package security, which
// takes roots from users, and package mtls, which takes chains from peers, apply the same rules.
package certrules

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
)

// MaxAnchors is the number of roots that are tried as the issuer of a chain. Each costs a signature check with the key of
// a root. An honest peer needs one; the second is for two roots with the same name and no key identifiers, where only
// the signature tells which one is the issuer.
const MaxAnchors = 2

const (
	// minRSABits is the minimum of NIST SP 800-57 part 1.
	minRSABits = 2048
	// maxRSABits is the longest key in common use. The cost of a signature check grows with the square of the length.
	maxRSABits = 4096

	// maxRSAExponent is the public exponent of nearly all keys (NIST SP 800-56B, section 6.4.1.1). The cost of a
	// signature check grows with the logarithm of the exponent.
	maxRSAExponent = 1<<16 + 1
)

// WeakKey says why a certificate's key is too weak or too slow to use, or returns "".
func WeakKey(cert *x509.Certificate) string {
	switch key := cert.PublicKey.(type) {
	case ed25519.PublicKey:
		return ""
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521() {
			return ""
		}
		return "ECDSA key on another curve than P-256, P-384, P-521"
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Sprintf("RSA key of %d bits, want %d to %d", bits, minRSABits, maxRSABits)
		}
		if key.E < 3 || key.E > maxRSAExponent || key.E%2 == 0 {
			return fmt.Sprintf("RSA key with the exponent %d, want an odd one from 3 to %d", key.E, maxRSAExponent)
		}
		return ""
	default:
		return "key is not Ed25519, ECDSA or RSA"
	}
}

// maxPrinted is the maximum length of the DER of a name that is printed whole. Package pkix needs time and memory that
// grow with the square of the length, and an attacker could fill a certificate with one name.
const maxPrinted = 256

// Issuer returns the name of a certificate's issuer, for an error.
func Issuer(cert *x509.Certificate) string { return printed(cert.RawIssuer, &cert.Issuer) }

// Subject returns the name of a certificate's subject, for an error.
func Subject(cert *x509.Certificate) string { return printed(cert.RawSubject, &cert.Subject) }

// printed returns a name as errors show it: whole, or only its common name if it is long.
func printed(raw []byte, name *pkix.Name) string {
	if len(raw) <= maxPrinted {
		return Quote(name.String())
	}
	return fmt.Sprintf("%s (of a name of %d bytes)", Quote("CN="+name.CommonName), len(raw))
}

// Quote quotes and shortens untrusted text for an error.
func Quote(s string) string {
	const limit = 128
	if len(s) > limit {
		return fmt.Sprintf("%q...", s[:limit])
	}
	return fmt.Sprintf("%q", s)
}
