package consul

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

// settle lets d pass and waits until every goroutine in the bubble is blocked.
func settle(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
	synctest.Wait()
}

// status returns a fault that gives every query about services the same answer.
func status(code int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v1/health/") {
			return false
		}
		w.Header().Set("X-Consul-Index", "5000")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
		return true
	}
}

func TestAnIllRegistryNeverEmptiesASet(t *testing.T) {
	for name, c := range map[string]struct {
		fault  func(http.ResponseWriter, *http.Request) bool
		reason string
	}{
		"500":            {status(500, "rpc error: No cluster leader"), "answers 500 (rpc error: No cluster leader)"},
		"503":            {status(503, ""), "answers 503"},
		"403":            {status(403, "ACL not found"), "none is set (ACL not found)"},
		"404":            {status(404, "no"), "does not know"},
		"a redirect":     {status(302, ""), "answers 302"},
		"HTML":           {status(200, "<html>Welcome</html>"), "what answers at 127.0.0.1:8500 is not Consul: it answers 200 with HTML"},
		"text":           {status(200, "Welcome"), "not JSON"},
		"HTML with 404":  {status(404, "<!doctype html>"), "not Consul: it answers 404 with HTML"},
		"HTML with 403":  {status(403, "<h1>Forbidden</h1>"), "not Consul: it answers 403 with HTML"},
		"HTML with 502":  {status(502, "<h1>Bad Gateway</h1>"), "not Consul: it answers 502 with HTML"},
		"nothing":        {status(200, ""), "ends in the middle"},
		"truncated JSON": {status(200, `[{"Node":{"Node":"n"},"Serv`), "ends in the middle"},
		"an object":      {status(200, `{}`), "a JSON object in a wrong place"},
		"null":           {status(200, `null`), "no list"},
		"too many bytes": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", strconv.Itoa(maxAnswer+1))
			_, _ = w.Write([]byte("["))
			return true
		}, "too large"},
		"access rules": {hiddenAnswer, "hides instances"},
		"an answer of others": {func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte("[]"))
			return true
		}, "no index"},
		"a cut connection": {func(w http.ResponseWriter, _ *http.Request) bool {
			conn, _, err := w.(http.Hijacker).Hijack() //nolint:forcetypeassert,errcheck // net/http's own
			return err == nil && conn.Close() == nil
		}, "closed the connection"},
		"a query that hangs": {func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		}, "no answer in time"},
		"a body that hangs": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("X-Consul-Index", "50")
			_, _ = w.Write([]byte("["))
			w.(http.Flusher).Flush() //nolint:forcetypeassert,errcheck // net/http's own
			<-r.Context().Done()
			return true
		}, "did not end in time"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t)
				a.add(t, instance("orders-1"), instance("orders-2"))
				r, log := a.registry(t, Config{})
				ch := watchOrders(t, r)
				settle(time.Minute)
				good := newest(t, ch)
				if got := show(good); got != "orders-1 orders-2" {
					t.Fatalf("to begin with: %s", got)
				}
				a.setFault(c.fault)
				settle(10 * time.Minute)
				s := newest(t, ch)
				if got := show(s); got != "orders-1 orders-2 stale" || !strings.Contains(s.Reason, c.reason) {
					t.Errorf("after 10 minutes: %s, reason %q, want one with %q", got, s.Reason, c.reason)
				}
				if len(ch) != 0 {
					t.Error("more than one snapshot for one change")
				}
				if s.At.Before(good.At) || s.At.After(good.At.Add(time.Minute)) {
					t.Errorf("At %v, the last good read was at %v", s.At, good.At)
				}
				if n := log.lines("level=WARN"); n != 1 {
					t.Errorf("%d warnings, want 1:\n%s", n, log)
				}
				a.setFault(nil)
				settle(time.Minute)
				if s := newest(t, ch); show(s) != "orders-1 orders-2" || s.Reason != "" {
					t.Errorf("after the end of the fault: %s, reason %q", show(s), s.Reason)
				}
			})
		})
	}
}

func hiddenAnswer(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("X-Consul-Index", "50")
	// Streaming leaves the header out.
	if !r.URL.Query().Has("index") {
		w.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
	} else {
		w.Header().Set("X-Consul-Query-Backend", backendStreaming)
	}
	_, _ = w.Write([]byte("[]"))
	return true
}

func anonymousAnswer(w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("X-Consul-Index", "50")
	w.Header().Set("X-Consul-Default-ACL-Policy", "deny")
	_, _ = w.Write([]byte("[]"))
	return true
}

func TestAnEmptyAnswerToNobodyIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.setFault(anonymousAnswer)
		r, _ := a.registry(t, Config{})
		ch := watchOrders(t, r)
		settle(time.Second)
		if s := newest(t, ch); !s.Stale || !strings.Contains(s.Reason, "service_prefix") {
			t.Errorf("got %+v", s)
		}
	})
}

func TestAnOverloadedAgentIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"))
		r, _ := a.registry(t, Config{})
		watches := make([]<-chan discovery.Snapshot, maxBlocking)
		for i := range watches {
			var err error
			if watches[i], err = r.Watch(t.Context(), discovery.Query{Service: "orders", Namespace: "n" + strconv.Itoa(i)}); err != nil {
				t.Fatal(err)
			}
		}
		settle(time.Minute)
		a.setFault(status(http.StatusTooManyRequests, ""))
		settle(time.Second)
		a.count("")
		settle(busyPause - 2*time.Second)
		if n := a.count("/v1/health/"); n != 0 {
			t.Errorf("%d queries in the pause after 429, want none", n)
		}
		a.setFault(nil)
		settle(time.Minute)
		used := func() int {
			r.budget.mu.Lock()
			defer r.budget.mu.Unlock()
			return r.budget.used
		}
		if n := used(); n < 1 || n > maxBlocking/2+1 {
			t.Errorf("%d watches wait in the agent soon after 429, want about %d", n, maxBlocking/2)
		}
		settle(maxBlocking * budgetGrows)
		if n := used(); n != maxBlocking {
			t.Errorf("%d watches wait in the agent long after 429, want %d", n, maxBlocking)
		}
	})
}

func TestAFailingDatacenterFreezesOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"))
		far := `[{"Node":{"Node":"far","Datacenter":"dc2"},"Service":{"ID":"orders-9","Service":"orders","Address":"192.0.2.9",` +
			`"Port":1,"Meta":{"link-proto":"1"},"Weights":{"Passing":100}}}]`
		inFar := func(w http.ResponseWriter, r *http.Request, code int, body string) bool {
			if r.URL.Query().Get("dc") != "dc2" {
				return false
			}
			a.wait(r)
			return status(code, body)(w, r)
		}
		a.setFault(func(w http.ResponseWriter, r *http.Request) bool { return inFar(w, r, 200, far) })
		r, _ := a.registry(t, Config{Datacenters: []string{"dc2", "dc2"}})
		ch := watchOrders(t, r)
		settle(time.Minute)
		s := newest(t, ch)
		if show(s) != "orders-1 orders-9" || s.Instances[0].Datacenter() != "dc1" || s.Instances[1].Datacenter() != "dc2" {
			t.Errorf("both: %+v", s)
		}
		a.setFault(func(w http.ResponseWriter, r *http.Request) bool { return inFar(w, r, 500, "no path to datacenter") })
		settle(2 * time.Minute)
		if s := newest(t, ch); show(s) != "orders-1 orders-9 stale" || !strings.Contains(s.Reason, "dc2") {
			t.Errorf("dc2 away: %s, reason %q", show(s), s.Reason)
		}
		a.add(t, instance("orders-2"))
		settle(2 * time.Second)
		if got := show(newest(t, ch)); got != "orders-1 orders-2 orders-9 stale" {
			t.Errorf("a change in the own datacenter: %s", got)
		}
	})
}

func TestAColdStartWithoutConsulUsesWhatWasKnown(t *testing.T) {
	dir := newStateDir(t)
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"), instance("orders-2"))
		r, _ := a.registry(t, Config{StateDir: dir})
		ch := watchOrders(t, r)
		settle(time.Minute)
		known := newest(t, ch)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		a.down(true)
		settle(time.Hour)
		again, _ := a.registry(t, Config{StateDir: dir})
		ch = watchOrders(t, again)
		settle(0)
		s := newest(t, ch)
		if show(s) != "orders-1 orders-2 stale" || s.At.Sub(known.At).Abs() > time.Second || !s.Instances[0].Equal(known.Instances[0]) {
			t.Errorf("cold start: %+v, want %+v, stale", s, known)
		}
		a.down(false)
		settle(retryMost)
		if got := show(newest(t, ch)); got != "orders-1 orders-2" {
			t.Errorf("with Consul again: %s", got)
		}
		// Another agent or partition has other instances, so this state is not used for it.
		a.down(true)
		other, _ := a.registry(t, Config{StateDir: dir, Address: "127.0.0.2:8500"})
		ch = watchOrders(t, other)
		settle(0)
		if s := newest(t, ch); show(s) != "stale" || !s.At.IsZero() {
			t.Errorf("state of another agent: %+v", s)
		}
	})
}

func TestBrokenAndForeignEntriesCostNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		body := `[null, 7, {}, {"Service":"x"},` +
			`{"Service":{"ID":"web-1","Service":"orders","Address":"192.0.2.1","Port":80}},` +
			`{"Service":{"ID":"a b","Service":"orders","Address":"192.0.2.1","Port":80,"Meta":{"link-proto":"1"}}},` +
			`{"Service":{"ID":"x-2","Service":"orders","Address":"192.0.2.1","Port":-80,"Meta":{"link-proto":"1"}}},` +
			`{"Service":{"ID":"x-3","Service":"orders","Address":"192.0.2.1","Port":80,"Meta":{"link-proto":"2"}}},` +
			`{"Service":{"ID":"x-4","Service":"orders","Address":"192.0.2.1","Port":80,"Meta":{"link-proto":"1","link-started":"\n"}}},` +
			`{"Node":{"Address":"192.0.2.7"},"Service":{"ID":"orders-1","Service":"orders","Port":80,"Meta":{"link-proto":"1"}}}]`
		a.setFault(status(200, body))
		r, log := a.registry(t, Config{})
		ch := watchOrders(t, r)
		settle(time.Minute)
		s := newest(t, ch)
		if show(s) != "orders-1" || s.Instances[0].Addr != "192.0.2.7:80" {
			t.Errorf("got %+v", s)
		}
		if n := log.lines("entries left out"); n != 1 || !strings.Contains(log.String(), "entries=6") {
			t.Errorf("%d lines, want one of 6 entries:\n%s", n, log)
		}
	})
}

func TestAFloodOfRegistrationsPushesNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("z-honest"))
		r, _ := a.registry(t, Config{})
		ch := watchOrders(t, r)
		settle(time.Minute)
		newest(t, ch)
		rogues := make([]discovery.Instance, bounds.MaxInstances+10)
		for i := range rogues {
			rogues[i] = instance("a-" + strconv.Itoa(i))
		}
		a.add(t, rogues...)
		settle(time.Second)
		s := newest(t, ch)
		if n := len(s.Instances); n != bounds.MaxInstances || s.Instances[n-1].ID != "z-honest" {
			t.Errorf("%d instances, the last %s", n, s.Instances[n-1].ID)
		}
	})
}

func TestWatchesOfAClosedRegistryAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		ch := watchOrders(t, r)
		policies, err := r.WatchPolicy(t.Context(), orders)
		if err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		newest(t, ch)
		if p := <-policies; p.Document != nil {
			t.Errorf("policy %+v", p)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, open := <-ch; open {
			t.Error("a watch survives Close")
		}
		if _, open := <-policies; open {
			t.Error("a policy watch survives Close")
		}
		if _, err := r.Watch(t.Context(), orders); !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("Watch: %v", err)
		}
		if _, err := r.WatchPolicy(t.Context(), orders); !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("WatchPolicy: %v", err)
		}
	})
}
