package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/linkmesh/link/internal/certrules"
	"github.com/linkmesh/link/security"
)

const (
	// MaxChainCertificates is the maximum number of certificates of a peer.
	MaxChainCertificates = 5
	// MaxChainBytes is the maximum size in DER of all certificates of a peer together.
	MaxChainBytes = 16 << 10
)

// A verifier verifies the peer in a handshake. Every check must pass; anything it does not understand is refused.
type verifier struct {
	source security.Source

	// accepts is set for the accepting side.
	accepts bool

	// expected is the only acceptable peer of the dialing side. The zero ID accepts no peer.
	expected security.ID
	protocol string
}

// verify is a tls.Config.VerifyConnection, which, unlike VerifyPeerCertificate, runs on every connection.
func (v *verifier) verify(state tls.ConnectionState) error {
	if err := v.check(state); err != nil {
		err.Accepted = v.accepts
		err.Expected = v.expected
		return err
	}
	return nil
}

func (v *verifier) check(state tls.ConnectionState) *security.VerifyError {
	if err := v.checkConnection(&state); err != nil {
		return err
	}
	certs := state.PeerCertificates
	id, err := judge(certs)
	if err != nil {
		return err
	}
	if err := v.checkChain(id, certs); err != nil {
		return err
	}
	if !v.accepts && id != v.expected {
		return &security.VerifyError{Reason: security.ReasonWrongIdentity, Got: id}
	}
	return nil
}

// judge makes all checks that need no signature check, and returns the identity that remains to be verified.
func judge(certs []*x509.Certificate) (security.ID, *security.VerifyError) {
	if err := checkSize(certs); err != nil {
		return security.ID{}, err
	}
	id, err := checkLeaf(certs[0])
	if err != nil {
		return security.ID{}, err
	}
	if problem := repeated(certs); problem != "" {
		return security.ID{}, &security.VerifyError{Reason: security.ReasonRepeated, Got: id, Detail: problem}
	}
	for i, cert := range certs {
		if problem := weak(cert); problem != "" {
			return security.ID{}, &security.VerifyError{Reason: security.ReasonWeak, Got: id, Detail: fmt.Sprintf("certificate %d: %s", i, problem)}
		}
	}
	return id, nil
}

// checkConnection checks the TLS version, the protocol, and that the session was not resumed.
func (v *verifier) checkConnection(state *tls.ConnectionState) *security.VerifyError {
	switch {
	case state.Version != tls.VersionTLS13:
		return &security.VerifyError{Reason: security.ReasonProtocol, Detail: "negotiated " + tls.VersionName(state.Version) + ", want TLS 1.3"}
	case state.NegotiatedProtocol != v.protocol:
		return &security.VerifyError{
			Reason: security.ReasonProtocol,
			Detail: fmt.Sprintf("negotiated %s, want %s", certrules.Quote(state.NegotiatedProtocol), certrules.Quote(v.protocol)),
		}
	case state.DidResume:
		return &security.VerifyError{Reason: security.ReasonResumed}
	}
	return nil
}

// checkSize checks number and size of the certificates, which bounds the cost of all later checks.
func checkSize(certs []*x509.Certificate) *security.VerifyError {
	if len(certs) == 0 {
		return &security.VerifyError{Reason: security.ReasonNoCertificate}
	}
	if len(certs) > MaxChainCertificates {
		return &security.VerifyError{
			Reason: security.ReasonChainTooLong,
			Detail: fmt.Sprintf("%d certificates, at most %d allowed", len(certs), MaxChainCertificates),
		}
	}
	size := 0
	for _, cert := range certs {
		size += len(cert.Raw)
	}
	if size > MaxChainBytes {
		return &security.VerifyError{
			Reason: security.ReasonChainTooLong,
			Detail: fmt.Sprintf("%d bytes of certificates, at most %d allowed", size, MaxChainBytes),
		}
	}
	return nil
}

// checkChain checks that certs lead to a root of the leaf's own trust domain. Roots of other domains are not used: with
// a union of pools, the authority of one domain could issue certificates for services of another.
func (v *verifier) checkChain(id security.ID, certs []*x509.Certificate) *security.VerifyError {
	bundle, err := v.source.Bundle(id.TrustDomain())
	switch {
	case errors.Is(err, security.ReasonTrustDomain):
		return &security.VerifyError{Reason: security.ReasonTrustDomain, Got: id, Err: err}
	case err != nil:
		return &security.VerifyError{Reason: security.ReasonBundle, Got: id, Err: err}
	case bundle == nil || bundle.TrustDomain() != id.TrustDomain():
		return &security.VerifyError{Reason: security.ReasonBundle, Got: id, Detail: "the source gave the bundle of another trust domain"}
	}

	shown := v.chain(certs)
	if err := shown.prove(bundle); err != nil {
		return &security.VerifyError{Reason: chainReason(err, shown.now), Got: id, Err: err}
	}
	return nil
}

func (v *verifier) chain(certs []*x509.Certificate) *chain {
	usage := x509.ExtKeyUsageServerAuth
	if v.accepts {
		usage = x509.ExtKeyUsageClientAuth
	}
	return &chain{certs: certs, usage: usage, now: time.Now()}
}

// chainReason returns the reason for an error of a chain. Most of these errors come from x509.Certificate.Verify.
func chainReason(err error, now time.Time) security.Reason {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) {
		return security.ReasonUntrusted
	}
	switch reason := invalid.Reason; {
	case reason == x509.Expired && now.Before(invalid.Cert.NotBefore):
		return security.ReasonNotYetValid
	case reason == x509.Expired:
		return security.ReasonExpired
	case reason == x509.CANotAuthorizedForThisName:
		return security.ReasonNameConstraint
	case reason == x509.IncompatibleUsage:
		return security.ReasonUsage
	default:
		return security.ReasonUntrusted
	}
}
