package mtls

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/linkmesh/link/security"
)

// Verify runs the verifier of a handshake on the given state.
func Verify(src security.Source, accepts bool, expected security.ID, state tls.ConnectionState) error {
	v := &verifier{source: src, accepts: accepts, expected: expected, protocol: Protocol}
	return v.verify(state)
}

// SignatureChecks verifies a client's chain as a service of the bundle's trust domain would, and returns how many
// signatures it checked.
func SignatureChecks(bundle *security.Bundle, certs []*x509.Certificate) (int, error) {
	v := &verifier{accepts: true, protocol: Protocol}
	id, problem := judge(certs)
	if problem != nil {
		problem.Accepted = true
		return 0, problem
	}
	c := v.chain(certs)
	if err := c.prove(bundle); err != nil {
		return c.checks, &security.VerifyError{Accepted: true, Got: id, Reason: chainReason(err, c.now), Err: err}
	}
	return c.checks, nil
}
