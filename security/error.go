package security

import (
	"errors"
	"strings"

	"github.com/linkmesh/link/internal/foreign"
)

// Errors that a *VerifyError matches with errors.Is, besides its cause.
var (
	// ErrHandshake means the wrong TLS version or protocol, or a resumed session.
	ErrHandshake = errors.New("security: unacceptable handshake")
	// ErrNoCertificate means that the peer sent no certificate.
	ErrNoCertificate = errors.New("security: no certificate")
	// ErrBadCertificate means that the certificates break a rule, regardless of who signed them.
	ErrBadCertificate = errors.New("security: unacceptable certificate")
	// ErrUntrusted means that there is no chain to a root of the peer's trust domain.
	ErrUntrusted = errors.New("security: untrusted certificate")
	// ErrExpired means that a certificate has expired.
	ErrExpired = errors.New("security: certificate expired")
	// ErrNotYetValid means that a certificate is not valid yet.
	ErrNotYetValid = errors.New("security: certificate not yet valid")
	// ErrWrongIdentity means that the peer is valid, but is not the expected one.
	ErrWrongIdentity = errors.New("security: wrong identity")
)

// maxErrorText bounds the text a VerifyError takes from its cause, because the peer controls a part of it.
const maxErrorText = 512

// A Role is this node's side of a handshake.
type Role uint8

const (
	// RoleClient is the dialing side: the peer is a server.
	RoleClient Role = iota + 1
	// RoleServer is the accepting side: the peer is a client.
	RoleServer
)

// String returns "client" or "server".
func (r Role) String() string {
	switch r {
	case RoleClient:
		return "client"
	case RoleServer:
		return "server"
	default:
		return "unknown"
	}
}

// A VerifyError says why this node refused a peer during the handshake.
// It matches the Err value of this package that belongs to its Reason, and its cause.
type VerifyError struct {
	Reason Reason

	// Role is the side of the handshake that this node was on.
	Role Role

	// Expected is the identity that was dialed. It is zero on the accepting side.
	Expected ID

	// Got is the identity in the peer's certificate, verified or not. It is zero if it could not be read.
	Got ID

	// Detail says what exactly was wrong. It may be empty.
	Detail string

	// Err is the cause. It may be nil.
	Err error
}

// Error returns one line that says what was refused, why, and what to check.
func (e *VerifyError) Error() string {
	var b strings.Builder
	b.WriteString("security: ")
	if e.Role == RoleServer {
		b.WriteString("client")
	} else {
		b.WriteString("server")
	}
	if !e.Got.IsZero() {
		b.WriteString(" " + e.Got.String())
	}
	b.WriteString(" refused: " + e.Reason.String())
	if !e.Expected.IsZero() && e.Expected != e.Got {
		b.WriteString(" (expected " + e.Expected.String() + ")")
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		text := e.Err.Error()
		if len(text) > maxErrorText {
			text = strings.ToValidUTF8(text[:maxErrorText], "") + "..."
		}
		// The text may contain names from the peer's certificates.
		b.WriteString(": " + foreign.Text(text))
	}
	if hint := e.hint(); hint != "" {
		b.WriteString("; " + hint)
	}
	return b.String()
}

// hint says what to check next, or returns "".
func (e *VerifyError) hint() string {
	if e.Reason == ReasonWrongIdentity && e.Got.Service() == e.Expected.Service() && e.Got.TrustDomain() == e.Expected.TrustDomain() {
		return "the same service has the address in another namespace: do both nodes use the same LINK_NAMESPACE?"
	}
	return e.Reason.hint()
}

// Unwrap returns the Err value of the reason and, if there is one, the cause.
func (e *VerifyError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason.sentinel()}
	}
	return []error{e.Reason.sentinel(), e.Err}
}
