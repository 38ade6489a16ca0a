package link

import (
	"cmp"
	"crypto/tls"
	"errors"
	"time"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/security"
)

// clientTLS returns the TLS configuration for one dial to the service: whatever
// discovery says, the peer must prove the service's identity.
func (s *service) clientTLS() *tls.Config {
	return mtls.Client(s.node.identity, s.identity, mtls.Protocol)
}

// refusalReason returns the reason why the verifier of package security refused a peer, or
// "" if it did not.
func refusalReason(err error) string {
	if refusal, ok := errors.AsType[*security.VerifyError](err); ok {
		return refusal.Reason.String()
	}
	return ""
}

func timeLeft(deadline time.Time) time.Duration { return time.Until(deadline) }

func compareStrings(a, b string) int { return cmp.Compare(a, b) }
