package security

import "strconv"

// A Tier says how much an identity proves. Higher values prove more. The zero Tier is invalid.
type Tier uint8

const (
	// TierDev proves the same operating system user on the same machine. Listeners bind to loopback only. Its trust
	// domain is dev.link.
	TierDev Tier = iota + 1
	// TierClusterSecret proves membership of the mesh. Service names are advisory: any holder of the secret can
	// take any name. Its trust domain is cluster.link.
	TierClusterSecret
	// TierProduction proves the service's own identity, vouched for by a certificate authority.
	TierProduction
)

// String returns "dev", "cluster-secret" or "production".
func (t Tier) String() string {
	switch t {
	case TierDev:
		return "dev"
	case TierClusterSecret:
		return "cluster-secret"
	case TierProduction:
		return "production"
	default:
		return "Tier(" + strconv.Itoa(int(t)) + ")"
	}
}
