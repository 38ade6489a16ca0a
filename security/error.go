package security

import (
	"errors"
	"strings"

	"github.com/linkmesh/link/internal/foreign"
)

// What a *VerifyError matches with errors.Is, besides its cause.
var (
	// ErrHandshake means the wrong TLS version or protocol, or a resumed session.
	ErrHandshake = errors.New("security: unacceptable handshake")
	// ErrNoCertificate means the peer showed no certificate.
	ErrNoCertificate = errors.New("security: no certificate")
	// ErrBadCertificate means certificates that break a rule whoever signed them.
	ErrBadCertificate = errors.New("security: unacceptable certificate")
	// ErrUntrusted means no chain to a root of the peer's trust domain.
	ErrUntrusted = errors.New("security: untrusted certificate")
	// ErrExpired means a certificate past its end.
	ErrExpired = errors.New("security: certificate expired")
	// ErrNotYetValid means a certificate before its beginning.
	ErrNotYetValid = errors.New("security: certificate not yet valid")
	// ErrWrongIdentity means a valid peer that is not the one asked for.
	ErrWrongIdentity = errors.New("security: wrong identity")
)

// maxErrorText bounds the text a VerifyError takes from its cause, part of which the peer chose.
const maxErrorText = 512

// A Role is the side of a handshake this node is on.
type Role uint8

const (
	// RoleClient is the dialing side: the peer is a server.
	RoleClient Role = iota + 1
	// RoleServer is the accepting side: the peer is a client.
	RoleServer
)

// String is "client" or "server".
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
// It matches one of this package's Err values by its Reason, and its cause.
type VerifyError struct {
	Reason   Reason
	Role     Role   // the side this node was on
	Expected ID     // the identity asked for; zero on the accepting side
	Got      ID     // the identity the peer showed, proven or not; zero when there was none to read
	Detail   string // what exactly was wrong; may be empty
	Err      error  // the cause; may be nil
}

// Error is one line that says what was refused, why, and what to check.
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
		b.WriteString(": " + foreign.Text(text)) // names in certificates are the peer's
	}
	if hint := e.hint(); hint != "" {
		b.WriteString("; " + hint)
	}
	return b.String()
}

// hint is what to look at next.
func (e *VerifyError) hint() string {
	if e.Reason == ReasonWrongIdentity && e.Got.Service() == e.Expected.Service() && e.Got.TrustDomain() == e.Expected.TrustDomain() {
		return "the same service has the address in another namespace: do both nodes use the same LINK_NAMESPACE?"
	}
	return e.Reason.hint()
}

// Unwrap gives the Err value of the reason and the cause.
func (e *VerifyError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason.sentinel()}
	}
	return []error{e.Reason.sentinel(), e.Err}
}
