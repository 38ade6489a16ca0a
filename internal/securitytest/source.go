package securitytest

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/security"
)

const (
	defaultLifetime = 24 * time.Hour
	backdate        = time.Minute
)

// Source returns a source of tier production for a service in the default namespace, with a leaf valid for 24 hours.
// Options change it, and may make its leaf invalid. An invalid name or an impossible leaf fails the test.
func (ca *CA) Source(service string, opts ...Option) security.Source {
	ca.t.Helper()
	plan := &plan{
		namespace: discovery.DefaultNamespace,
		tier:      security.TierProduction,
		lifetime:  defaultLifetime,
		issuer:    ca.root,
		bundles:   map[string]*security.Bundle{ca.trustDomain: ca.bundle},
	}
	for _, opt := range opts {
		opt.apply(plan)
	}
	id := ca.id(plan.namespace, service)
	if plan.viaIntermediate {
		plan.issuer = ca.intermediate
	}
	s := &source{t: ca.t, id: id, plan: plan}
	// The issuer may be the root of another authority. The honest side does not trust it.
	if plan.issuer != ca.root {
		s.chain = append(s.chain, plan.issuer.cert.Raw)
	}
	s.mintLocked(time.Now())
	return s
}

// A source is one identity of a CA.
type source struct {
	t    testing.TB
	id   security.ID
	plan *plan

	// chain holds the certificates that follow the leaf.
	chain [][]byte

	mu   sync.Mutex // guards the fields below
	svid *security.SVID

	// renewAt is zero if the leaf is never renewed.
	renewAt time.Time
	change  notify.Broadcast
	closed  bool
}

func (s *source) ID() security.ID     { return s.id }
func (s *source) Tier() security.Tier { return s.plan.tier }

func (s *source) SVID() (*security.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, security.ErrClosed
	}
	if now := time.Now(); !s.renewAt.IsZero() && now.After(s.renewAt) {
		s.mintLocked(now)
		s.change.All()
	}
	return s.svid, nil
}

func (s *source) Bundle(trustDomain string) (*security.Bundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, security.ErrClosed
	}
	if bundle := s.plan.bundles[trustDomain]; bundle != nil {
		return bundle, nil
	}
	return nil, fmt.Errorf("%w %q", security.ReasonTrustDomain, trustDomain)
}

func (s *source) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change.C()
}

func (s *source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// mintLocked makes the leaf that the plan describes. Valid leaves are renewed, invalid ones are not.
func (s *source) mintLocked(now time.Time) {
	s.t.Helper()
	s.renewAt = time.Time{}
	if s.plan.noCertificate {
		s.svid = &security.SVID{ID: s.id}
		return
	}
	leaf := &Leaf{
		URIs: []string{s.id.String()},
		Key:  newKey(s.t),
		Template: x509.Certificate{
			NotBefore:             now.Add(-backdate),
			NotAfter:              now.Add(s.plan.lifetime),
			BasicConstraintsValid: true,
			KeyUsage:              x509.KeyUsageDigitalSignature,
			ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		},
	}
	for _, mutate := range s.plan.mutations {
		mutate(s.t, leaf)
	}
	if leaf.URIs != nil {
		leaf.Template.ExtraExtensions = append(leaf.Template.ExtraExtensions, subjectAltName(s.t, leaf))
	}
	der := s.plan.issuer.sign(s.t, &leaf.Template, leaf.Key.Public())
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		// A leaf that crypto/x509 cannot parse is sent nevertheless.
		parsed = nil
	}
	chain := append([][]byte{der}, s.chain...)
	if s.plan.mutateChain != nil {
		chain = s.plan.mutateChain(chain)
	}
	s.svid = &security.SVID{ID: s.id, Certificate: tls.Certificate{
		Certificate: chain,
		PrivateKey:  crypto.PrivateKey(leaf.Key),
		Leaf:        parsed,
	}}
	if len(s.plan.mutations) == 0 && s.plan.mutateChain == nil {
		s.renewAt = now.Add(s.plan.lifetime / 2).Round(0)
	}
}
