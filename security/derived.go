package security

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/certrules"
	"github.com/linkmesh/link/internal/notify"
)

// renewJitter sets the time of a renewal to half of the leaf's lifetime ± 10 %, so that nodes started together do not
// renew together.
const renewJitter = 0.1

// A derivedSource issues its own leaves from roots derived from secrets.
type derivedSource struct {
	id     ID
	tier   Tier
	bundle *Bundle
	signer *authority

	// chain holds the cross-signed certificates that follow the leaf.
	chain [][]byte

	current atomic.Pointer[lease]
	closed  atomic.Bool

	// mu is held during a renewal, so that concurrent calls renew only once. It guards change.
	mu sync.Mutex
	// change tells that the next lease has been stored.
	change notify.Broadcast
}

// A lease is one leaf and the time of its renewal.
type lease struct {
	svid    *SVID
	renewAt time.Time
}

// newDerivedSource returns a source that issues leaves from the first secret and also trusts the others.
func newDerivedSource(tier Tier, label string, id ID, secrets [][]byte) (*derivedSource, error) {
	s := &derivedSource{id: id, tier: tier}
	roots := make([]*x509.Certificate, 0, len(secrets))
	for _, secret := range secrets {
		a, err := newAuthority(secret, label, id.TrustDomain())
		if err != nil {
			return nil, err
		}
		roots = append(roots, a.root)
		if s.signer == nil {
			s.signer = a
			continue
		}
		cross, err := a.crossSign(s.signer)
		if err != nil {
			return nil, err
		}
		s.chain = append(s.chain, cross)
	}
	bundle, err := NewBundle(id.TrustDomain(), roots...)
	if err != nil {
		return nil, err
	}
	s.bundle = bundle
	first, err := s.newLease(time.Now())
	if err != nil {
		return nil, err
	}
	s.current.Store(first)
	return s, nil
}

func (s *derivedSource) newLease(now time.Time) (*lease, error) {
	svid, err := s.signer.issue(s.id, now, s.chain)
	if err != nil {
		return nil, err
	}
	// The leaf's dates have no monotonic reading, so renewAt has none either, and comparisons use the wall clock. The
	// monotonic clock stops while a machine sleeps.
	leaf := svid.Certificate.Leaf
	half := leaf.NotAfter.Sub(now.Round(0)) / 2
	jitter := time.Duration(float64(half) * renewJitter * (2*rand.Float64() - 1)) //nolint:gosec // spreads load, hides nothing
	return &lease{svid: svid, renewAt: leaf.NotAfter.Add(jitter - half)}, nil
}

// usable returns false if the leaf is due for renewal, or if the clock was set back to before its NotBefore.
func (l *lease) usable(now time.Time) bool {
	return now.Before(l.renewAt) && !now.Before(l.svid.Certificate.Leaf.NotBefore)
}

func (s *derivedSource) ID() ID     { return s.id }
func (s *derivedSource) Tier() Tier { return s.tier }

func (s *derivedSource) SVID() (*SVID, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if l := s.current.Load(); l.usable(time.Now()) {
		return l.svid, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, now := s.current.Load(), time.Now()
	// Another call may have renewed the lease in the meantime.
	if old.usable(now) {
		return old.svid, nil
	}
	renewed, err := s.newLease(now)
	if err != nil {
		return nil, err
	}
	s.current.Store(renewed)
	s.change.All()
	return renewed.svid, nil
}

func (s *derivedSource) Bundle(trustDomain string) (*Bundle, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if trustDomain != s.bundle.trustDomain {
		return nil, fmt.Errorf("security: %w %s: this node (tier %s) knows only %s",
			ReasonTrustDomain, certrules.Quote(trustDomain), s.tier, s.bundle.trustDomain)
	}
	return s.bundle, nil
}

func (s *derivedSource) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change.C()
}

func (s *derivedSource) Close() error {
	s.closed.Store(true)
	return nil
}

// String returns tier and identity, without the keys.
func (s *derivedSource) String() string {
	return "Source(" + s.tier.String() + " " + s.id.String() + ")"
}

// Format prints String for every verb, so that no verb shows a key.
func (s *derivedSource) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.String()) }

// LogValue returns tier and identity, without the keys.
func (s *derivedSource) LogValue() slog.Value { return slog.StringValue(s.String()) }
