package securitytest

import (
	"time"

	"github.com/linkmesh/link/security"
)

// An Option changes a source. Options that make a leaf wrong can be combined; they apply in order.
type Option interface{ apply(plan *plan) }

type option func(plan *plan)

func (o option) apply(plan *plan) { o(plan) }

// A plan is what the options of a source come to.
type plan struct {
	namespace       string
	tier            security.Tier
	lifetime        time.Duration
	issuer          *authority
	viaIntermediate bool
	bundles         map[string]*security.Bundle
	mutations       []mutation
	mutateChain     func([][]byte) [][]byte
	noCertificate   bool
}

// InNamespace puts the service in a namespace other than the default.
func InNamespace(namespace string) Option {
	return option(func(p *plan) { p.namespace = namespace })
}

// WithTier makes the source claim a tier other than production.
func WithTier(tier security.Tier) Option {
	return option(func(p *plan) { p.tier = tier })
}

// WithLifetime makes leaves end that long after they are made; they are renewed after half of it.
func WithLifetime(lifetime time.Duration) Option {
	return option(func(p *plan) { p.lifetime = lifetime })
}

// Trusting adds the bundle of another authority. An authority of the same trust domain replaces the source's own.
func Trusting(other *CA) Option {
	return option(func(p *plan) { p.bundles[other.trustDomain] = other.bundle })
}

// ViaIntermediate has leaves issued by the authority's intermediate, which the source then shows behind its leaf.
func ViaIntermediate() Option {
	return option(func(p *plan) { p.viaIntermediate = true })
}

// SignedBy has leaves issued by the root of another authority, which is shown behind the leaf. The source still
// trusts its own. With an authority of the same trust domain it is a forger who knows every name.
func SignedBy(other *CA) Option {
	return option(func(p *plan) { p.issuer = other.root })
}

// NoCertificate makes the source show no certificate at all.
func NoCertificate() Option {
	return option(func(p *plan) { p.noCertificate = true })
}

// MutateChain changes what is shown: the leaf in DER and what is behind it.
func MutateChain(mutate func(chain [][]byte) [][]byte) Option {
	return option(func(p *plan) { p.mutateChain = mutate })
}
