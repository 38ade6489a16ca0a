package securitytest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/security"
)

func TestHonestSourceRenewsInVirtualTime(t *testing.T) {
	// The CA is made outside the bubble and used inside.
	ca := securitytest.NewCA(t, "mesh.test")
	synctest.Test(t, func(t *testing.T) {
		src := ca.Source("orders", securitytest.WithLifetime(time.Hour))
		first, err := src.SVID()
		if err != nil {
			t.Fatal(err)
		}
		changed := src.Changed()
		<-time.After(29 * time.Minute)
		if same, err := src.SVID(); err != nil || same != first {
			t.Errorf("renewed early, %v", err)
		}
		<-time.After(2 * time.Minute)
		second, err := src.SVID()
		if err != nil || second == first {
			t.Errorf("not renewed, %v", err)
		}
		select {
		case <-changed:
		default:
			t.Error("Changed has not fired")
		}
		if left := time.Until(second.Certificate.Leaf.NotAfter); left > time.Hour || left < 59*time.Minute {
			t.Errorf("the new leaf has %v left", left)
		}
	})
}

func TestWrongSourceStaysAsItIs(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	synctest.Test(t, func(t *testing.T) {
		src := ca.Source("orders", securitytest.Expired())
		first, err := src.SVID()
		if err != nil {
			t.Fatal(err)
		}
		if !first.Certificate.Leaf.NotAfter.Before(time.Now()) {
			t.Errorf("the leaf ends %v", first.Certificate.Leaf.NotAfter)
		}
		<-time.After(48 * time.Hour)
		if same, err := src.SVID(); err != nil || same != first {
			t.Errorf("the leaf changed, %v", err)
		}
	})
}

func TestSourceIsWhatWasAskedFor(t *testing.T) {
	ca, partner := securitytest.NewCA(t, "mesh.test"), securitytest.NewCA(t, "partner.test")
	src := ca.Source("orders",
		securitytest.InNamespace("billing"), securitytest.WithTier(security.TierDev), securitytest.Trusting(partner))
	if src.ID().String() != "spiffe://mesh.test/ns/billing/svc/orders" || src.Tier() != security.TierDev {
		t.Errorf("source is %v %v", src.ID(), src.Tier())
	}
	for _, known := range []*securitytest.CA{ca, partner} {
		if bundle, err := src.Bundle(known.TrustDomain()); err != nil || bundle != known.Bundle() {
			t.Errorf("bundle of %s: %v", known.TrustDomain(), err)
		}
	}
	if _, err := src.Bundle("other.test"); !errors.Is(err, security.ReasonTrustDomain) {
		t.Errorf("bundle of a stranger: %v", err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := src.SVID(); !errors.Is(err, security.ErrClosed) {
		t.Errorf("SVID after Close: %v", err)
	}
}
