package link

import (
	"errors"

	"github.com/linkmesh/link/security"
)

// refusalReason returns the reason why the verifier of package security refused a peer, or
// "" if it did not.
func refusalReason(err error) string {
	if refusal, ok := errors.AsType[*security.VerifyError](err); ok {
		return refusal.Reason.String()
	}
	return ""
}
