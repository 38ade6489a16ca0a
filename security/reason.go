package security

import "strconv"

// A Reason says why a peer was refused. The set of reasons is fixed, so its text can be used as a metric label.
// The zero Reason is invalid.
//
// A Reason is an error, so that errors.Is(err, security.ReasonExpired) works for the error of a handshake. No other
// values tell kinds of refusals: test for each reason that matters, or look at the Reason of a [*VerifyError].
type Reason uint8

const (
	// ReasonProtocol means that the connection is not TLS 1.3, or that link's ALPN protocol was not negotiated.
	ReasonProtocol Reason = iota + 1
	// ReasonResumed means that the session was resumed, without certificates.
	ReasonResumed
	// ReasonNoCertificate means that the peer sent no certificate.
	ReasonNoCertificate
	// ReasonChainTooLong means more than 5 certificates, or more than 16 KiB of them.
	ReasonChainTooLong
	// ReasonProfile means that the leaf breaks a rule of X509-SVID.
	ReasonProfile
	// ReasonUsage means that the certificates may not be used for both ends of TLS.
	ReasonUsage
	// ReasonMalformedID means that the URI in the leaf is not an ID.
	ReasonMalformedID
	// ReasonWeak means a weak key or signature algorithm in the chain, or an RSA key that is too slow to use.
	ReasonWeak
	// ReasonRepeated means that two certificates have the same subject or key.
	ReasonRepeated
	// ReasonTrustDomain means that the source has no bundle for the peer's trust domain. Source.Bundle returns it, too.
	ReasonTrustDomain
	// ReasonBundle means that the source returned an error or the bundle of another trust domain.
	ReasonBundle
	// ReasonNotYetValid means that the leaf is not valid yet.
	ReasonNotYetValid
	// ReasonExpired means that the leaf, or the authority above it, has expired.
	ReasonExpired
	// ReasonNameConstraint means that the authority may not issue certificates for the name.
	ReasonNameConstraint
	// ReasonUntrusted means that there is no chain to a root of the peer's trust domain.
	ReasonUntrusted
	// ReasonWrongIdentity means that the peer is valid, but is not the expected one.
	ReasonWrongIdentity
)

// String returns the reason as words joined by hyphens.
func (r Reason) String() string {
	switch r {
	case ReasonProtocol:
		return "protocol"
	case ReasonResumed:
		return "resumed"
	case ReasonNoCertificate:
		return "no-certificate"
	case ReasonChainTooLong:
		return "chain-too-long"
	case ReasonProfile:
		return "profile"
	case ReasonUsage:
		return "usage"
	case ReasonMalformedID:
		return "malformed-id"
	case ReasonWeak:
		return "weak"
	case ReasonRepeated:
		return "repeated"
	case ReasonTrustDomain:
		return "unknown-trust-domain"
	case ReasonBundle:
		return "bundle"
	case ReasonNotYetValid:
		return "not-yet-valid"
	case ReasonExpired:
		return "expired"
	case ReasonNameConstraint:
		return "name-constraint"
	case ReasonUntrusted:
		return "untrusted"
	case ReasonWrongIdentity:
		return "wrong-identity"
	default:
		return "Reason(" + strconv.Itoa(int(r)) + ")"
	}
}

// Error implements error.
func (r Reason) Error() string { return r.String() }

// hint says what to check next, or returns "" if that is obvious.
func (r Reason) hint() string {
	switch r {
	case ReasonTrustDomain:
		return "do both nodes use the same tier (LINK_CLUSTER_SECRET set on both or on neither)?"
	case ReasonUntrusted:
		return "do both nodes use the same LINK_CLUSTER_SECRET or certificate authority?"
	case ReasonNotYetValid, ReasonExpired:
		return "check the clocks of both machines and the peer's renewal"
	case ReasonWrongIdentity:
		return "another service has the address: check what is registered there"
	case ReasonProtocol, ReasonResumed, ReasonNoCertificate, ReasonChainTooLong, ReasonProfile, ReasonUsage,
		ReasonMalformedID, ReasonWeak, ReasonRepeated, ReasonBundle, ReasonNameConstraint:
		return ""
	default:
		return ""
	}
}
