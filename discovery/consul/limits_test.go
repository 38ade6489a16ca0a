package consul

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/race"
)

func TestTwoThousandServicesShareFewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		services := race.Fewer(2000, 300)
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		watches := make([]<-chan discovery.Snapshot, services)
		for i := range watches {
			var err error
			watches[i], err = r.Watch(t.Context(), discovery.Query{Service: "s-" + strconv.Itoa(i)})
			if err != nil {
				t.Fatal(err)
			}
		}
		settle(0)
		for i, ch := range watches {
			if len(ch) != 1 {
				t.Fatalf("watch %d has no first snapshot", i)
			}
			<-ch
		}
		settle(10 * time.Second)
		a.count("")
		const polls = 3
		settle(polls * pollEvery)
		n := a.count("cached")
		if want := polls * (services - maxBlocking); n < want*9/10 || n > want*11/10 {
			t.Errorf("%d polls, want about %d", n, want)
		}
		a.ln.mu.Lock()
		most := a.ln.most
		a.ln.mu.Unlock()
		if most > maxConns {
			t.Errorf("%d connections at one time, want at most %d", most, maxConns)
		}
		in := instance("s-1")
		in.Service = "s-" + strconv.Itoa(services-1)
		a.add(t, in)
		settle(pollEvery * 6 / 5)
		if got := show(newest(t, watches[services-1])); got != "s-1" {
			t.Errorf("a polled service after %v: %s", pollEvery, got)
		}
	})
}

func TestAThousandEndedWatchesLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			for i := range 100 {
				if _, err := r.Watch(ctx, discovery.Query{Service: "s-" + strconv.Itoa(i)}); err != nil {
					t.Fatal(err)
				}
				if _, err := r.WatchPolicy(ctx, discovery.Query{Service: "s-" + strconv.Itoa(i)}); err != nil {
					t.Fatal(err)
				}
			}
			settle(0)
			cancel()
			settle(0)
		}
		r.mu.Lock()
		if len(r.followers) != 0 || len(r.stops) != 0 || r.policies != 0 || r.budget.used != 0 || r.budget.policies != 0 || len(r.polls) != 0 {
			t.Errorf("left: %d followers, %d stops, %d policies, budget %+v, %d polls",
				len(r.followers), len(r.stops), r.policies, r.budget, len(r.polls))
		}
		r.mu.Unlock()
		a.count("")
		settle(time.Hour)
		if n := a.count(""); n != 0 {
			t.Errorf("%d requests when nobody watches", n)
		}
		a.add(t, instance("orders-1"))
		ch := watchOrders(t, r)
		settle(0)
		if got := show(newest(t, ch)); got != "orders-1" {
			t.Errorf("a watch after that: %s", got)
		}
	})
}

// TestAWatchThatFindsAnOldFollowerGetsItsFirstSnapshot opens a watch while an old follower is still there: the feed
// forgets a service with its last watch, and the follower may learn of that a moment later.
func TestAWatchThatFindsAnOldFollowerGetsItsFirstSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"))
		r, _ := a.registry(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := r.Watch(ctx, orders); err != nil {
			t.Fatal(err)
		}
		settle(0)
		r.mu.Lock()
		// The follower has not learned of the end of its watch.
		r.followers[orders].watches++
		r.mu.Unlock()
		cancel()
		settle(0)
		ch := watchOrders(t, r)
		settle(0)
		if got := show(newest(t, ch)); got != "orders-1" {
			t.Errorf("first snapshot: %s", got)
		}
	})
}

func TestAChurningServiceIsAskedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"))
		r, _ := a.registry(t, Config{})
		watchOrders(t, r)
		settle(time.Minute)
		churn := func(d time.Duration) int {
			a.count("")
			for end := time.Now().Add(d); time.Now().Before(end); {
				a.add(t, instance("orders-1"))
				settle(10 * time.Millisecond)
			}
			return a.count("/v1/health/")
		}
		if n := churn(20 * time.Second); n < 18 || n > 23 {
			t.Errorf("%d queries in the first 20 s of churn, want about one a second", n)
		}
		churn(2 * time.Minute)
		if n := churn(time.Minute); n > 5 {
			t.Errorf("%d queries a minute under lasting churn, want about 4", n)
		}
		settle(2 * waitMost)
		if n := churn(10 * time.Second); n < 9 {
			t.Errorf("%d queries in 10 s after calm, want about one a second again", n)
		}
	})
}

func TestARefusedTokenIsReadAgainAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.setFault(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("X-Consul-Token") == "new" {
				return false
			}
			http.Error(w, "ACL not found", http.StatusForbidden)
			return true
		})
		r, _ := a.registry(t, Config{TokenFile: path})
		write("new")
		// No time passes before the token file is read again.
		register(t, r, instance("orders-1"))
	})
}

func TestATokenFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("s3cr3t-1")
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"))
		valid := "s3cr3t-1"
		a.setFault(func(w http.ResponseWriter, r *http.Request) bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			if r.Header.Get("X-Consul-Token") == valid {
				return false
			}
			http.Error(w, "ACL not found", http.StatusForbidden)
			return true
		})
		r, log := a.registry(t, Config{TokenFile: path})
		ch := watchOrders(t, r)
		settle(time.Second)
		if got := show(newest(t, ch)); got != "orders-1" {
			t.Errorf("first token: %s", got)
		}
		write("s3cr3t-2")
		a.mu.Lock()
		valid = "s3cr3t-2"
		a.mu.Unlock()
		a.add(t, instance("orders-2"))
		settle(0)
		if got := show(newest(t, ch)); got != "orders-1 orders-2" {
			t.Errorf("second token: %s", got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		a.add(t, instance("orders-3"))
		settle(2 * time.Second)
		if got := show(newest(t, ch)); got != "orders-1 orders-2 orders-3" {
			t.Errorf("without the file: %s", got)
		}
		a.add(t, instance("orders-4"))
		settle(2 * time.Second)
		if n := log.lines("token file cannot be read"); n != 1 {
			t.Errorf("%d lines about the missing file, want 1:\n%s", n, log)
		}
		for _, text := range []string{log.String(), fmt.Sprintf("%v %+v %#v", r, r, r)} {
			if strings.Contains(text, "s3cr3t") {
				t.Errorf("the token is printed: %s", text)
			}
		}
	})
}
