package security

import (
	"crypto/tls"
	"crypto/x509"
)

// UnfitFolder returns the error for a folder that cannot hold a secret.
func UnfitFolder(path string, err error) error { return unfitFolder(path, err) }

// UnfitFile returns the error for a file that cannot hold a secret.
func UnfitFile(path string, err error) error { return unfitFile(path, err) }

// Verify runs the verifier of a handshake on the given state.
func Verify(src Source, role Role, expected ID, state tls.ConnectionState) error {
	v := &verifier{source: src, role: role, expected: expected, protocol: Protocol}
	return v.verify(state)
}

// DeriveCluster returns the root derived from a cluster secret.
func DeriveCluster(secret []byte) (*x509.Certificate, error) {
	a, err := newAuthority(secret, clusterLabel, ClusterTrustDomain)
	if err != nil {
		return nil, err
	}
	return a.root, nil
}

// DeriveWithDevLabel returns the root of a trust domain derived from a secret with the label of the dev tier.
func DeriveWithDevLabel(secret []byte, trustDomain string) (*x509.Certificate, error) {
	a, err := newAuthority(secret, devLabel, trustDomain)
	if err != nil {
		return nil, err
	}
	return a.root, nil
}

// SignatureChecks verifies a client's chain as a service of the bundle's trust domain would, and returns how many
// signatures it checked.
func SignatureChecks(bundle *Bundle, certs []*x509.Certificate) (int, error) {
	v := &verifier{role: RoleServer, protocol: Protocol}
	id, problem := judge(certs)
	if problem != nil {
		problem.Role = RoleServer
		return 0, problem
	}
	c := v.chain(certs)
	if err := c.prove(bundle); err != nil {
		return c.checks, &VerifyError{Role: RoleServer, Got: id, Reason: chainReason(err, c.now), Err: err}
	}
	return c.checks, nil
}
