package security

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

const (
	// MaxChainCertificates is the maximum number of certificates of a peer.
	MaxChainCertificates = 5
	// MaxChainBytes is the maximum size in DER of all certificates of a peer together.
	MaxChainBytes = 16 << 10
)

// A verifier verifies the peer in a handshake. Every check must pass; anything it does not understand is refused.
type verifier struct {
	source Source
	role   Role

	// expected is the only acceptable peer for RoleClient. The zero ID accepts no peer.
	expected ID
	protocol string
}

// verify is a tls.Config.VerifyConnection, which, unlike VerifyPeerCertificate, runs on every connection.
func (v *verifier) verify(state tls.ConnectionState) error {
	if err := v.check(state); err != nil {
		err.Role = v.role
		err.Expected = v.expected
		return err
	}
	return nil
}

func (v *verifier) check(state tls.ConnectionState) *VerifyError {
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
	if v.role != RoleServer && id != v.expected {
		return &VerifyError{Reason: ReasonWrongIdentity, Got: id}
	}
	return nil
}

// judge makes all checks that need no signature check, and returns the identity that remains to be verified.
func judge(certs []*x509.Certificate) (ID, *VerifyError) {
	if err := checkSize(certs); err != nil {
		return ID{}, err
	}
	id, err := checkLeaf(certs[0])
	if err != nil {
		return ID{}, err
	}
	if problem := repeated(certs); problem != "" {
		return ID{}, &VerifyError{Reason: ReasonRepeated, Got: id, Detail: problem}
	}
	for i, cert := range certs {
		if problem := weak(cert); problem != "" {
			return ID{}, &VerifyError{Reason: ReasonWeak, Got: id, Detail: fmt.Sprintf("certificate %d: %s", i, problem)}
		}
	}
	return id, nil
}

// checkConnection checks the TLS version, the protocol, and that the session was not resumed.
func (v *verifier) checkConnection(state *tls.ConnectionState) *VerifyError {
	switch {
	case state.Version != tls.VersionTLS13:
		return &VerifyError{Reason: ReasonVersion, Detail: "negotiated " + tls.VersionName(state.Version) + ", want TLS 1.3"}
	case state.NegotiatedProtocol != v.protocol:
		return &VerifyError{
			Reason: ReasonProtocol,
			Detail: fmt.Sprintf("negotiated %s, want %s", quote(state.NegotiatedProtocol), quote(v.protocol)),
		}
	case state.DidResume:
		return &VerifyError{Reason: ReasonResumed}
	}
	return nil
}

// checkSize checks number and size of the certificates, which bounds the cost of all later checks.
func checkSize(certs []*x509.Certificate) *VerifyError {
	if len(certs) == 0 {
		return &VerifyError{Reason: ReasonNoCertificate}
	}
	if len(certs) > MaxChainCertificates {
		return &VerifyError{
			Reason: ReasonChainTooLong,
			Detail: fmt.Sprintf("%d certificates, at most %d allowed", len(certs), MaxChainCertificates),
		}
	}
	size := 0
	for _, cert := range certs {
		size += len(cert.Raw)
	}
	if size > MaxChainBytes {
		return &VerifyError{
			Reason: ReasonChainTooLarge,
			Detail: fmt.Sprintf("%d bytes of certificates, at most %d allowed", size, MaxChainBytes),
		}
	}
	return nil
}

// checkChain checks that certs lead to a root of the leaf's own trust domain. Roots of other domains are not used: with
// a union of pools, the authority of one domain could issue certificates for services of another.
func (v *verifier) checkChain(id ID, certs []*x509.Certificate) *VerifyError {
	bundle, err := v.source.Bundle(id.TrustDomain())
	switch {
	case errors.Is(err, ErrUnknownTrustDomain):
		return &VerifyError{Reason: ReasonTrustDomain, Got: id, Err: err}
	case err != nil:
		return &VerifyError{Reason: ReasonBundle, Got: id, Err: err}
	case bundle == nil || bundle.trustDomain != id.TrustDomain():
		return &VerifyError{Reason: ReasonBundle, Got: id, Detail: "the source gave the bundle of another trust domain"}
	}

	shown := v.chain(certs)
	if err := shown.prove(bundle); err != nil {
		return &VerifyError{Reason: chainReason(err, shown.now), Got: id, Err: err}
	}
	return nil
}

func (v *verifier) chain(certs []*x509.Certificate) *chain {
	usage := x509.ExtKeyUsageServerAuth
	if v.role == RoleServer {
		usage = x509.ExtKeyUsageClientAuth
	}
	return &chain{certs: certs, usage: usage, now: time.Now()}
}

// chainReason returns the Reason for an error of a chain. Most of these errors come from x509.Certificate.Verify.
func chainReason(err error, now time.Time) Reason {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) {
		return ReasonUntrusted
	}
	switch reason := invalid.Reason; {
	case reason == x509.Expired && now.Before(invalid.Cert.NotBefore):
		return ReasonNotYetValid
	case reason == x509.Expired:
		return ReasonExpired
	case reason == x509.CANotAuthorizedForThisName:
		return ReasonNameConstraint
	case reason == x509.IncompatibleUsage:
		return ReasonUsage
	default:
		return ReasonUntrusted
	}
}
