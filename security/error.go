package security

import (
	"strings"

	"github.com/linkmesh/link/internal/foreign"
)

// maxErrorText bounds the text a VerifyError takes from its cause, because the peer controls a part of it.
const maxErrorText = 512

// A VerifyError says why this node refused a peer during the handshake.
// It matches its Reason and its cause with errors.Is: errors.Is(err, security.ReasonExpired).
type VerifyError struct {
	Reason Reason

	// Accepted is set if this node accepted the connection, and so the peer is a client. Otherwise this node dialed a
	// server.
	Accepted bool

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
	if e.Accepted {
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

// Unwrap returns the reason and, if there is one, the cause.
func (e *VerifyError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}
