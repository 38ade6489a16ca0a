package security

import "strconv"

// A Reason says why a peer was refused. The set is closed, so its text serves as a metric label.
// The zero Reason is invalid.
type Reason uint8

const (
	// ReasonVersion means the connection is not TLS 1.3.
	ReasonVersion Reason = iota + 1
	// ReasonProtocol means another ALPN protocol than the one asked for, or none.
	ReasonProtocol
	// ReasonResumed means a resumed session, in which no certificate was shown.
	ReasonResumed
	// ReasonNoCertificate means the peer showed no certificate.
	ReasonNoCertificate
	// ReasonChainTooLong means more than MaxChainCertificates certificates.
	ReasonChainTooLong
	// ReasonChainTooLarge means more than MaxChainBytes of certificates.
	ReasonChainTooLarge
	// ReasonProfile means the leaf breaks a rule of X509-SVID.
	ReasonProfile
	// ReasonUsage means the certificates may not be used for both ends of TLS.
	ReasonUsage
	// ReasonMalformedID means the URI in the leaf is not an ID.
	ReasonMalformedID
	// ReasonWeak means a weak key or signature algorithm in the chain, or an RSA key that is slow beyond reason.
	ReasonWeak
	// ReasonRepeated means two certificates with the same subject or key.
	ReasonRepeated
	// ReasonTrustDomain means the source has no bundle for the peer's trust domain.
	ReasonTrustDomain
	// ReasonBundle means the source failed to give the bundle, or gave that of another trust domain.
	ReasonBundle
	// ReasonNotYetValid means the leaf is not valid yet.
	ReasonNotYetValid
	// ReasonExpired means the leaf, or the authority above it, has expired.
	ReasonExpired
	// ReasonNameConstraint means the authority may not vouch for the name.
	ReasonNameConstraint
	// ReasonUntrusted means no chain to a root of the peer's trust domain.
	ReasonUntrusted
	// ReasonWrongIdentity means a valid peer that is not the one asked for.
	ReasonWrongIdentity
)

// String is the reason in words joined by hyphens.
func (r Reason) String() string {
	switch r {
	case ReasonVersion:
		return "tls-version"
	case ReasonProtocol:
		return "protocol"
	case ReasonResumed:
		return "resumed"
	case ReasonNoCertificate:
		return "no-certificate"
	case ReasonChainTooLong:
		return "chain-too-long"
	case ReasonChainTooLarge:
		return "chain-too-large"
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

// sentinel is the Err value that a VerifyError with this reason matches.
func (r Reason) sentinel() error {
	switch r {
	case ReasonVersion, ReasonProtocol, ReasonResumed:
		return ErrHandshake
	case ReasonNoCertificate:
		return ErrNoCertificate
	case ReasonTrustDomain:
		return ErrUnknownTrustDomain
	case ReasonNotYetValid:
		return ErrNotYetValid
	case ReasonExpired:
		return ErrExpired
	case ReasonNameConstraint, ReasonUntrusted, ReasonBundle:
		return ErrUntrusted
	case ReasonWrongIdentity:
		return ErrWrongIdentity
	case ReasonChainTooLong, ReasonChainTooLarge, ReasonProfile, ReasonUsage, ReasonMalformedID, ReasonWeak, ReasonRepeated:
		return ErrBadCertificate
	default:
		return ErrBadCertificate
	}
}

// hint is what to look at next, for the reasons where that is not obvious.
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
	case ReasonVersion, ReasonProtocol, ReasonResumed, ReasonNoCertificate, ReasonChainTooLong, ReasonChainTooLarge,
		ReasonProfile, ReasonUsage, ReasonMalformedID, ReasonWeak, ReasonRepeated, ReasonBundle, ReasonNameConstraint:
		return ""
	default:
		return ""
	}
}
