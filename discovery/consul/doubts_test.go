package consul

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnEmptyRegistryIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"), instance("orders-2"))
		r, _ := a.registry(t, Config{})
		ch := watchOrders(t, r)
		settle(time.Minute)
		newest(t, ch)
		a.remove("orders-1", "orders-2")
		settle(time.Second)
		if got := show(newest(t, ch)); got != "" {
			t.Errorf("a second after the last has gone: %s", got)
		}
	})
}

func TestAnAgentRestartedEmptyIsDoubtedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"), instance("orders-2"))
		r, _ := a.registry(t, Config{})
		ch := watchOrders(t, r)
		settle(time.Minute)
		newest(t, ch)
		a.down(true)
		settle(2 * time.Second)
		if got := show(newest(t, ch)); got != "orders-1 orders-2 stale" {
			t.Errorf("while it is down: %s", got)
		}
		a.forget()
		// count forgets the requests so far.
		a.count("")
		a.down(false)
		// The next query comes after a backoff of up to 30 s.
		for a.count("/v1/health/service/orders") == 0 {
			settle(time.Second)
		}
		a.add(t, instance("orders-3"))
		settle(2 * doubtEvery)
		if s := newest(t, ch); show(s) != "orders-1 orders-2 orders-3 stale" || !strings.Contains(s.Reason, "lost its state") {
			t.Errorf("new instances must be seen beside those held: %s, reason %q", show(s), s.Reason)
		}
		settle(doubtTime)
		if got := show(newest(t, ch)); got != "orders-3" {
			t.Errorf("after the doubt: %s", got)
		}
	})
}

func TestAnIndexThatGoesBackwardsIsDoubted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"), instance("orders-2"), instance("orders-3"))
		for range 100 {
			a.add(t)
		}
		r, log := a.registry(t, Config{})
		ch := watchOrders(t, r)
		settle(time.Minute)
		newest(t, ch)
		// This causes a blocking answer, so that streaming has an index to compare with.
		a.add(t)
		settle(time.Minute)

		// A server that was restored from a snapshot has lost one of three instances, which is not a majority.
		a.mu.Lock()
		a.index = 20
		delete(a.services, "orders-3")
		a.wakeLocked()
		a.mu.Unlock()
		a.setFault(nil)
		settle(time.Second)
		if len(ch) != 0 {
			// Like a server, the fake cannot wake a query that waits for a higher index.
			t.Fatalf("woken: %s", show(newest(t, ch)))
		}
		settle(waitMost + time.Second)
		if got := show(newest(t, ch)); got != "orders-1 orders-2 orders-3 stale" {
			t.Errorf("with a lower index: %s\n%s", got, log)
		}
		settle(doubtTime + time.Second)
		if got := show(newest(t, ch)); got != "orders-1 orders-2" {
			t.Errorf("when it has stood: %s", got)
		}
	})
}

// TestTheFirstInstanceIsSeenWithinASecondWhateverElseHappens checks that a watch stays prompt although other
// registrations wake it. Where streaming is off, any registration wakes a watch of a service without instances.
func TestTheFirstInstanceIsSeenWithinASecondWhateverElseHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		ch := watchOrders(t, r)
		settle(time.Second)
		newest(t, ch)
		for range 1000 {
			a.add(t)
			settle(300 * time.Millisecond)
		}
		a.add(t, instance("orders-1"))
		settle(time.Second)
		if got := show(newest(t, ch)); got != "orders-1" {
			t.Errorf("a second after its registration: %s", got)
		}
	})
}

func TestWhatIsStillUnderWayDoesNotReachALaterWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := r.Watch(ctx, orders); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		old := r.followers[orders]
		r.mu.Unlock()
		cancel()
		settle(0)
		ch := watchOrders(t, r)
		settle(0)
		newest(t, ch)
		old.show(0, part{members: members("ghost")})
		if len(ch) != 0 {
			t.Errorf("got %s", show(<-ch))
		}
	})
}

func TestNoLeaderMeansNoRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"), instance("orders-2"))
		r, _ := a.registry(t, Config{})
		ch := watchOrders(t, r)
		settle(time.Minute)
		newest(t, ch)
		a.setFault(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-Consul-Index", "500")
			w.Header().Set("X-Consul-KnownLeader", "false")
			w.Header().Set("X-Consul-Query-Backend", "blocking-query")
			_, _ = w.Write([]byte("[]"))
			return true
		})
		settle(10 * time.Minute)
		if s := newest(t, ch); show(s) != "orders-1 orders-2 stale" || !strings.Contains(s.Reason, "no leader") {
			t.Errorf("without a leader: %s, reason %q", show(s), s.Reason)
		}
		a.setFault(nil)
		a.remove("orders-2")
		settle(doubtTime + 2*doubtEvery)
		if got := show(newest(t, ch)); got != "orders-1" {
			t.Errorf("with a leader again: %s", got)
		}
	})
}
