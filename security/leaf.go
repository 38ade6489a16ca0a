package security

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
)

const (
	// minRSABits is the minimum of NIST SP 800-57 part 1.
	minRSABits = 2048
	// maxRSABits is the longest key in common use. The cost of a signature check grows with the square of the length.
	maxRSABits = 4096

	// maxRSAExponent is the public exponent of nearly all keys (NIST SP 800-56B, section 6.4.1.1). The cost of a
	// signature check grows with the logarithm of the exponent.
	maxRSAExponent = 1<<16 + 1

	// sanURI is the tag of a URI in GeneralName (RFC 5280, section 4.2.1.6).
	sanURI = 6
)

func oidSubjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }
func oidKeyUsage() asn1.ObjectIdentifier       { return asn1.ObjectIdentifier{2, 5, 29, 15} }

// checkLeaf applies the rules for leaves (X509-SVID, sections 2 to 5) and returns the identity.
func checkLeaf(leaf *x509.Certificate) (ID, *VerifyError) {
	profile := func(detail string) *VerifyError { return &VerifyError{Reason: ReasonProfile, Detail: detail} }

	uris, err := uriNames(leaf)
	if err != nil {
		return ID{}, &VerifyError{Reason: ReasonProfile, Err: err}
	}
	if len(uris) != 1 {
		return ID{}, profile(fmt.Sprintf("%d URI names in the leaf, want exactly one", len(uris)))
	}
	id, err := ParseID(uris[0])
	if err != nil {
		return ID{}, &VerifyError{Reason: ReasonMalformedID, Err: err}
	}
	usage, critical := hasExtension(leaf, oidKeyUsage())
	var problem *VerifyError
	switch {
	case leaf.IsCA:
		problem = profile("the leaf is a CA certificate")
	case leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		problem = profile("the leaf's key may sign certificates or revocation lists")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		problem = profile("the leaf's key usage lacks digitalSignature")
	case !usage || !critical:
		problem = profile("the leaf's key usage is not critical")
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth),
		!slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		problem = &VerifyError{Reason: ReasonUsage, Detail: "the leaf's extended key usage must have serverAuth and clientAuth"}
	default:
		return id, nil
	}
	problem.Got = id
	return ID{}, problem
}

// uriNames returns the URIs among the subject alternative names, exactly as they are in the certificate. The url.URL
// values of crypto/x509 are already normalized: they have lost an upper-case scheme or an empty fragment.
func uriNames(cert *x509.Certificate) ([]string, error) {
	var uris []string
	for _, extension := range cert.Extensions {
		if !extension.Id.Equal(oidSubjectAltName()) {
			continue
		}
		var names asn1.RawValue
		rest, err := asn1.Unmarshal(extension.Value, &names)
		if err != nil {
			return nil, fmt.Errorf("subject alternative names: %w", err)
		}
		if len(rest) != 0 || names.Class != asn1.ClassUniversal || names.Tag != asn1.TagSequence || !names.IsCompound {
			return nil, errors.New("subject alternative names are not one sequence")
		}
		for rest = names.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				return nil, fmt.Errorf("subject alternative names: %w", err)
			}
			if name.Class == asn1.ClassContextSpecific && name.Tag == sanURI {
				uris = append(uris, string(name.Bytes))
			}
		}
	}
	return uris, nil
}

func hasExtension(cert *x509.Certificate, oid asn1.ObjectIdentifier) (present, critical bool) {
	for _, extension := range cert.Extensions {
		if extension.Id.Equal(oid) {
			return true, extension.Critical
		}
	}
	return false, false
}

// weak says why the signature or key of a peer's certificate is too weak, or returns "".
func weak(cert *x509.Certificate) string {
	strong := [...]x509.SignatureAlgorithm{
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
		x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	}
	if !slices.Contains(strong[:], cert.SignatureAlgorithm) {
		return "signed with " + cert.SignatureAlgorithm.String() + ", want SHA-256 or better"
	}
	return weakKey(cert)
}

// weakKey says why a certificate's key is too weak or too slow to use, or returns "".
func weakKey(cert *x509.Certificate) string {
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
