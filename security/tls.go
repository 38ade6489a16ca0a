package security

import (
	"crypto/tls"
)

// ServerTLS returns the configuration of an accepting side: it speaks Protocol and accepts every service of a trust
// domain that src has a bundle for. Authorization is decided per call.
//
// The configuration gets certificate and roots from src on every handshake, and is valid until src is closed.
// The caller owns it, but must not weaken it.
func ServerTLS(src Source) *tls.Config { return ServerTLSFor(src, Protocol) }

// ServerTLSFor is like ServerTLS for another ALPN protocol, with the same checks. A transport uses it to tell a
// verified peer of another version which versions it speaks.
func ServerTLSFor(src Source, protocol string) *tls.Config {
	config := baseTLS(&verifier{source: src, role: RoleServer, protocol: protocol})
	// crypto/tls checks only that there is a certificate; the verifier checks the certificate.
	config.ClientAuth = tls.RequireAnyClientCert
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(src) }
	return config
}

// ClientTLS returns the configuration of a dialing side: it speaks Protocol and accepts only the expected service.
// With the zero ID it accepts no peer. In all other respects it is like ServerTLS.
func ClientTLS(src Source, expected ID) *tls.Config { return ClientTLSFor(src, expected, Protocol) }

// ClientTLSFor is like ClientTLS for another ALPN protocol, with the same checks.
func ClientTLSFor(src Source, expected ID, protocol string) *tls.Config {
	config := baseTLS(&verifier{source: src, role: RoleClient, expected: expected, protocol: protocol})
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate(src) }
	return config
}

func baseTLS(v *verifier) *tls.Config {
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
func certificate(src Source) (*tls.Certificate, error) {
	svid, err := src.SVID()
	if err != nil {
		return nil, err
	}
	return &svid.Certificate, nil
}
