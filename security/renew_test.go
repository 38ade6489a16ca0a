package security_test

import (
	"errors"
	"math/big"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/mtls/mtlstest"
	"github.com/linkmesh/link/security"
)

const (
	earliestRenewal = 10*time.Hour + 48*time.Minute // 12 h less 10 %
	latestRenewal   = 13*time.Hour + 12*time.Minute // 12 h and 10 %
)

func serial(t *testing.T, src security.Source) *big.Int {
	t.Helper()
	svid, err := src.SVID()
	if err != nil {
		t.Fatal(err)
	}
	return svid.Certificate.Leaf.SerialNumber
}

func TestLeafIsRenewedForThirtyDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const step, days = 4 * time.Minute, 30
		secret := security.NewSecret()
		web, orders := mustCluster(t, secret, "web"), mustCluster(t, secret, "orders")
		mtlstest.MustConnect(t, web, orders)

		last, changed, renewals := serial(t, orders), orders.Changed(), 0
		renewed, start := time.Now(), time.Now()
		for time.Since(start) < days*24*time.Hour {
			<-time.After(step)
			svid, err := orders.SVID()
			if err != nil {
				t.Fatal(err)
			}
			leaf := svid.Certificate.Leaf
			if left := time.Until(leaf.NotAfter); left < 24*time.Hour-latestRenewal-step {
				t.Fatalf("the leaf in use has only %v left", left)
			}
			isNew := leaf.SerialNumber.Cmp(last) != 0
			if isNew != isClosed(changed) {
				t.Fatalf("renewed: %v, but Changed has fired: %v", isNew, isClosed(changed))
			}
			if !isNew {
				continue
			}
			if after := time.Since(renewed); after < earliestRenewal || after > latestRenewal+step {
				t.Fatalf("renewed after %v", after)
			}
			renewals++
			renewed, last, changed = time.Now(), leaf.SerialNumber, orders.Changed()
			mtlstest.MustConnect(t, web, orders)
			mtlstest.MustConnect(t, orders, web)
		}
		// The bounds are 720 h divided by 13.2 h and by 10.8 h.
		if renewals < 54 || renewals > 66 {
			t.Errorf("%d renewals in %d days", renewals, days)
		}
	})
}

func TestLeafIsRenewedAfterALongSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := security.NewSecret()
		web, orders := mustCluster(t, secret, "web"), mustCluster(t, secret, "orders")
		// Nothing uses the sources during this time.
		<-time.After(10 * 365 * 24 * time.Hour)
		mtlstest.MustConnect(t, web, orders)
	})
}

func TestRenewalIsSpreadOverNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes = 64
		sources, serials := make([]security.Source, nodes), make([]*big.Int, nodes)
		secret := security.NewSecret()
		for i := range sources {
			sources[i] = mustCluster(t, secret, "orders")
			serials[i] = serial(t, sources[i])
		}
		<-time.After(12 * time.Hour)
		renewed := 0
		for i, src := range sources {
			if serial(t, src).Cmp(serials[i]) != 0 {
				renewed++
			}
		}
		if renewed == 0 || renewed == nodes {
			t.Errorf("%d of %d nodes had renewed at half time", renewed, nodes)
		}
	})
}

func TestRenewalHappensOnceForAllCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := mustCluster(t, security.NewSecret(), "orders")
		old := serial(t, src).String()
		<-time.After(latestRenewal)
		const callers = 32
		var (
			wg   sync.WaitGroup
			mu   sync.Mutex
			seen = map[string]int{}
		)
		for range callers {
			wg.Go(func() {
				svid, err := src.SVID()
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				seen[svid.Certificate.Leaf.SerialNumber.String()]++
			})
		}
		wg.Wait()
		if len(seen) != 1 || seen[old] != 0 {
			t.Errorf("%d callers saw %d leaves, the old one %d times", callers, len(seen), seen[old])
		}
	})
}

func TestSVIDIsCheap(t *testing.T) {
	src := mustCluster(t, security.NewSecret(), "orders")
	if allocs := testing.AllocsPerRun(100, func() {
		if _, err := src.SVID(); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("SVID allocates %v times", allocs)
	}
}

func TestCloseDoesNotFireChanged(t *testing.T) {
	src := mustCluster(t, security.NewSecret(), "orders")
	changed := src.Changed()
	if err := errors.Join(src.Close(), src.Close()); err != nil {
		t.Fatal(err)
	}
	if isClosed(changed) {
		t.Error("Close looked like a change")
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
