package link

import (
	"cmp"
	"crypto/tls"
	"time"

	"github.com/linkmesh/link/security"
)

// clientTLS is the configuration of one dial to the service: whatever
// discovery says, the peer must prove the service's identity.
func (s *service) clientTLS() *tls.Config { return security.ClientTLS(s.node.identity, s.identity) }

func timeLeft(deadline time.Time) time.Duration { return time.Until(deadline) }

func compareStrings(a, b string) int { return cmp.Compare(a, b) }
