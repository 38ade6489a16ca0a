package mtls

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/linkmesh/link/internal/certrules"
	"github.com/linkmesh/link/security"
)

// sanURI is the tag of a URI in GeneralName (RFC 5280, section 4.2.1.6).
const sanURI = 6

func oidSubjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }
func oidKeyUsage() asn1.ObjectIdentifier       { return asn1.ObjectIdentifier{2, 5, 29, 15} }

// checkLeaf applies the rules for leaves (X509-SVID, sections 2 to 5) and returns the identity.
func checkLeaf(leaf *x509.Certificate) (security.ID, *security.VerifyError) {
	profile := func(detail string) *security.VerifyError {
		return &security.VerifyError{Reason: security.ReasonProfile, Detail: detail}
	}

	uris, err := uriNames(leaf)
	if err != nil {
		return security.ID{}, &security.VerifyError{Reason: security.ReasonProfile, Err: err}
	}
	if len(uris) != 1 {
		return security.ID{}, profile(fmt.Sprintf("%d URI names in the leaf, want exactly one", len(uris)))
	}
	id, err := security.ParseID(uris[0])
	if err != nil {
		return security.ID{}, &security.VerifyError{Reason: security.ReasonMalformedID, Err: err}
	}
	usage, critical := hasExtension(leaf, oidKeyUsage())
	var problem *security.VerifyError
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
		problem = &security.VerifyError{Reason: security.ReasonUsage, Detail: "the leaf's extended key usage must have serverAuth and clientAuth"}
	default:
		return id, nil
	}
	problem.Got = id
	return security.ID{}, problem
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
	return certrules.WeakKey(cert)
}
