package securitytest

import (
	"time"

	"github.com/linkmesh/link/security"
)

// An Option changes a source. Options that make a leaf invalid can be combined; they apply in order.
type Option interface{ apply(plan *plan) }

type option func(plan *plan)

func (o option) apply(plan *plan) { o(plan) }

// A plan is the combined effect of the options of a source.
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

// WithLifetime sets how long leaves are valid after they are made; they are renewed after half of it.
func WithLifetime(lifetime time.Duration) Option {
	return option(func(p *plan) { p.lifetime = lifetime })
}

// Trusting adds the bundle of another authority. An authority of the same trust domain replaces the source's own.
func Trusting(other *CA) Option {
	return option(func(p *plan) { p.bundles[other.trustDomain] = other.bundle })
}

// ViaIntermediate makes the authority's intermediate issue the leaves. The source sends it after its leaf.
func ViaIntermediate() Option {
	return option(func(p *plan) { p.viaIntermediate = true })
}

// SignedBy makes the root of another authority issue the leaves; it is sent after the leaf. The source still trusts
// its own authority. With another authority of the same trust domain, the source is a forger with valid names.
func SignedBy(other *CA) Option {
	return option(func(p *plan) { p.issuer = other.root })
}

// NoCertificate makes the source send no certificate.
func NoCertificate() Option {
	return option(func(p *plan) { p.noCertificate = true })
}

// MutateChain lets mutate change the chain that is sent: certificates in DER, leaf first.
func MutateChain(mutate func(chain [][]byte) [][]byte) Option {
	return option(func(p *plan) { p.mutateChain = mutate })
}
