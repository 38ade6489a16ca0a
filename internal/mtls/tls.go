// Package mtls makes the TLS configurations of a mesh, and verifies peers. Users give a node a security.Source; this package
// is for link, which turns the source into the two sides of a connection.
//
// # Overview
//
// [Server] and [Client] return configurations in which both sides prove their identity, and [PeerFromState] the peer of
// a connection made with one. No option turns the checks off. What an accepted peer has proved is told by package
// security, whose VerifyError is the error for a peer that is refused.
//
// A chain is verified from a root down, with no key that is not verified: see docs/adr/0015-chains-from-the-root-down.md.
//
// # Usage
//
//	serverConfig := mtls.Server(source, mtls.Protocol)         // accepts any service of a known trust domain
//	clientConfig := mtls.Client(source, mailer, mtls.Protocol) // accepts only mailer
//
// # Concurrency
//
// Everything here is safe for concurrent use. The package starts no goroutines.
//
// # Testing
//
// Package securitytest has an in-memory certificate authority, which can also make invalid certificates, and package
// mtlstest runs handshakes in memory.
package mtls

import (
	"crypto/tls"

	"github.com/linkmesh/link/security"
)

// Protocol is the ALPN protocol of the mesh (RFC 7301).
const Protocol = "link/1"

// Server returns the configuration of an accepting side: it speaks an ALPN protocol and accepts every service of a trust
// domain that src has a bundle for. Authorization is decided per call. A transport passes another protocol than
// [Protocol] to tell a verified peer of another version which versions it speaks.
//
// The configuration gets certificate and roots from src on every handshake, and is valid until src is closed.
// The caller owns it, but must not weaken it.
func Server(src security.Source, protocol string) *tls.Config {
	config := base(&verifier{source: src, accepts: true, protocol: protocol})
	// crypto/tls checks only that there is a certificate; the verifier checks the certificate.
	config.ClientAuth = tls.RequireAnyClientCert
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(src) }
	return config
}

// Client returns the configuration of a dialing side: it speaks an ALPN protocol and accepts only the expected service.
// With the zero ID it accepts no peer. In all other respects it is like Server.
func Client(src security.Source, expected security.ID, protocol string) *tls.Config {
	config := base(&verifier{source: src, expected: expected, protocol: protocol})
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate(src) }
	return config
}

func base(v *verifier) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		MaxVersion: tls.VersionTLS13,
		NextProtos: []string{v.protocol},
		// A resumed session sends no certificates, so they could not be verified again.
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, //nolint:gosec // replaces host name checks by VerifyConnection, which always runs
		VerifyConnection:       v.verify,
		// CurvePreferences stays nil: Go's default prefers hybrid post-quantum key exchange.
	}
}

// certificate returns the certificate of the source unchecked. The peer refuses an empty one.
func certificate(src security.Source) (*tls.Certificate, error) {
	svid, err := src.SVID()
	if err != nil {
		return nil, err
	}
	return &svid.Certificate, nil
}
