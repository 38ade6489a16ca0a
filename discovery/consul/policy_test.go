package consul

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

const ordersPolicy = "link/topology/orders"

func watchPolicy(t *testing.T, r *Registry, q discovery.Query) <-chan discovery.PolicyDocument {
	t.Helper()
	ch, err := r.WatchPolicy(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// showPolicy formats a policy: its document, or "none" if there is none, and whether it is stale.
func showPolicy(p discovery.PolicyDocument) string {
	text := "none"
	if p.Document != nil {
		text = "<" + string(p.Document) + ">"
	}
	if p.Stale {
		text += " stale"
	}
	return text
}

// hears fails the test unless a new policy is there, is shown as want, and has reason in its Reason.
func hears(t *testing.T, ch <-chan discovery.PolicyDocument, want, reason string) {
	t.Helper()
	select {
	case p := <-ch:
		if showPolicy(p) != want || !strings.Contains(p.Reason, reason) || p.Stale != (p.Reason != "") {
			t.Errorf("got %s, reason %q; want %s, with %q", showPolicy(p), p.Reason, want, reason)
		}
		if strings.Contains(p.Reason, "\n") {
			t.Errorf("reason of several lines: %q", p.Reason)
		}
	default:
		t.Errorf("nothing, want %s", want)
	}
}

// kvAnswers returns a fault that gives every query about policies the same answer.
func kvAnswers(code int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v1/kv/") {
			return false
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
		return true
	}
}

func TestPoliciesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.setPolicy("link/topology/shop/orders", "version: 1")
		r, _ := a.registry(t, Config{})
		ch := watchPolicy(t, r, discovery.Query{Service: "orders", Namespace: "shop"})
		none := watchPolicy(t, r, orders)
		settle(time.Second)
		if p := <-ch; string(p.Document) != "version: 1" || p.Origin != "Consul KV link/topology/shop/orders" {
			t.Errorf("got %+v", p)
		}
		if p := <-none; p.Document != nil || p.Origin != "Consul KV link/topology/orders" || p.Stale {
			t.Errorf("got %+v, want no document", p)
		}
		a.setPolicy(ordersPolicy, "version: 2")
		settle(time.Second)
		hears(t, none, "<version: 2>", "")
		if len(ch) != 0 {
			t.Error("told of another service's policy")
		}
	})
}

func TestAnIllRegistryNeverWithdrawsAPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.setPolicy(ordersPolicy, "version: 2")
		r, log := a.registry(t, Config{})
		ch := watchPolicy(t, r, orders)
		settle(time.Second)
		hears(t, ch, "<version: 2>", "")
		for name, c := range map[string]struct {
			fault  func(http.ResponseWriter, *http.Request) bool
			reason string
		}{
			"a 404 of others": {kvAnswers(http.StatusNotFound, "<html>"), "what answers at 127.0.0.1:8500 is not Consul"},
			"no rights":       {kvAnswers(http.StatusForbidden, "Permission denied"), `key_prefix "link/topology/" { policy = "read" }`},
			"no leader":       {kvAnswers(http.StatusInternalServerError, "No cluster leader"), "(No cluster leader)"},
		} {
			a.setFault(c.fault)
			settle(10 * time.Minute)
			hears(t, ch, "<version: 2> stale", c.reason)
			if len(ch) != 0 {
				t.Errorf("%s: told twice", name)
			}
			a.setFault(nil)
			settle(time.Minute)
			hears(t, ch, "<version: 2>", "")
		}
		if n := log.lines("level=WARN"); n != 3 {
			t.Errorf("%d warnings, want one for each fault:\n%s", n, log)
		}

		a.down(true)
		settle(2 * time.Second)
		hears(t, ch, "<version: 2> stale", "cannot be reached")
		a.forget()
		a.down(false)
		settle(10 * time.Second)
		if len(ch) != 0 {
			t.Errorf("a restarted Consul is believed: %s", showPolicy(<-ch))
		}
		settle(doubtTime + pollEvery)
		hears(t, ch, "none", "")
		a.setPolicy(ordersPolicy, strings.Repeat("x", bounds.MaxPolicy+1))
		settle(time.Minute)
		hears(t, ch, "none stale", "want at most")
	})
}

func TestTheFirstWordOfAPolicyIsPrompt(t *testing.T) {
	for name, c := range map[string]struct {
		// fault is nil if the agent is down instead.
		fault  func(http.ResponseWriter, *http.Request) bool
		reason string
	}{
		"unreachable": {nil, "cannot be reached"},
		"no rights":   {kvAnswers(http.StatusForbidden, "Permission denied"), "(Permission denied)"},
		"HTML":        {kvAnswers(http.StatusOK, "<html>"), "not Consul"},
		"overloaded":  {kvAnswers(http.StatusTooManyRequests, "slow down"), "429"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newStateDir(t)
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t)
				spoil := func(yes bool) {
					switch {
					case c.fault == nil:
						a.down(yes)
					case yes:
						a.setFault(c.fault)
					default:
						a.setFault(nil)
					}
				}
				// start starts the process twice while Consul cannot be read.
				start := func(address, want, reason string) {
					t.Helper()
					spoil(true)
					r, _ := a.registry(t, Config{StateDir: dir, Address: address})
					ch := watchPolicy(t, r, orders)
					settle(0)
					hears(t, ch, want, c.reason)
					settle(time.Minute)
					if len(ch) != 0 {
						t.Errorf("told again: %s", showPolicy(<-ch))
					}
					if err := r.Close(); err != nil {
						t.Error(err)
					}
					r, _ = a.registry(t, Config{StateDir: dir, Address: address})
					ch = watchPolicy(t, r, orders)
					settle(0)
					hears(t, ch, want, reason)
					spoil(false)
				}
				// run starts the process once while Consul can be read.
				run := func(document, want string) {
					t.Helper()
					a.setPolicy(ordersPolicy, document)
					r, _ := a.registry(t, Config{StateDir: dir})
					ch := watchPolicy(t, r, orders)
					settle(time.Second)
					hears(t, ch, want, "")
					if err := r.Close(); err != nil {
						t.Error(err)
					}
				}
				start("", "none stale", "no policy is kept")
				run("version: 1", "<version: 1>")
				start("", "<version: 1> stale", "in force is what an earlier run found at ")
				start("127.0.0.2:8500", "none stale", "no policy is kept")
				run("", "none")
				start("", "none stale", "an earlier run found none at ")
			})
		})
	}
}

func TestAKeptPolicyIsConfirmedOrReplaced(t *testing.T) {
	dir := newStateDir(t)
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.setPolicy(ordersPolicy, "version: 1")
		begin := func() (*Registry, <-chan discovery.PolicyDocument) {
			r, _ := a.registry(t, Config{StateDir: dir})
			ch := watchPolicy(t, r, orders)
			settle(0)
			return r, ch
		}
		r, ch := begin()
		hears(t, ch, "<version: 1>", "")
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		a.down(true)
		settle(policyMaxAge - time.Hour)
		_, ch = begin()
		hears(t, ch, "<version: 1> stale", "cannot be reached")
		a.down(false)
		settle(retryMost)
		hears(t, ch, "<version: 1>", "")

		// A Consul that was away and returns empty is also doubted about a policy that an earlier run knew.
		a.down(true)
		_, ch = begin()
		hears(t, ch, "<version: 1> stale", "cannot be reached")
		a.forget()
		a.down(false)
		settle(doubtTime / 2)
		if len(ch) != 0 {
			t.Errorf("believed: %s", showPolicy(<-ch))
		}
		settle(retryMost + doubtTime)
		hears(t, ch, "none", "")
	})
}

func TestAStartWithoutALeaderKeepsThePolicy(t *testing.T) {
	dir := newStateDir(t)
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.setPolicy(ordersPolicy, "version: 1")
		r, _ := a.registry(t, Config{StateDir: dir})
		watchPolicy(t, r, orders)
		settle(0)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		a.setFault(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-Consul-Index", "50")
			w.Header().Set("X-Consul-KnownLeader", "false")
			w.WriteHeader(http.StatusNotFound)
			return true
		})
		r, _ = a.registry(t, Config{StateDir: dir})
		ch := watchPolicy(t, r, orders)
		settle(0)
		hears(t, ch, "<version: 1> stale", "no leader")
		settle(10 * time.Minute)
		if len(ch) != 0 {
			t.Errorf("believed: %s", showPolicy(<-ch))
		}
	})
}

func TestPolicyFilesThatAreNoneAreLeftOut(t *testing.T) {
	now := time.Now()
	c := mustCoder(t)
	encode := func(t *testing.T, key stateKey, at time.Time) []byte {
		t.Helper()
		data, err := c.encodePolicy(key, []byte("version: 1"), at)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, c := range map[string]struct {
		data func(t *testing.T) []byte
		mode os.FileMode
		want bool
	}{
		"as written":         {func(t *testing.T) []byte { t.Helper(); return encode(t, ordersKey, now) }, 0o600, true},
		"readable by others": {func(t *testing.T) []byte { t.Helper(); return encode(t, ordersKey, now) }, 0o644, false},
		"of another":         {func(t *testing.T) []byte { t.Helper(); return encode(t, stateKey{Query: "x"}, now) }, 0o600, false},
		"too old": {func(t *testing.T) []byte {
			t.Helper()
			return encode(t, ordersKey, now.Add(-policyMaxAge-time.Minute))
		}, 0o600, false},
		"garbage": {func(*testing.T) []byte { return []byte("garbage") }, 0o600, false},
		"huge":    {func(*testing.T) []byte { return make([]byte, maxPolicyFile+1) }, 0o600, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, log := newTestSaver(t, newStateDir(t))
			if err := os.WriteFile(s.policyPath(ordersKey), c.data(t), c.mode); err != nil {
				t.Fatal(err)
			}
			document, at, ok := s.loadPolicy(ordersKey, now)
			if ok != c.want || ok && (string(document) != "version: 1" || !at.Equal(now.Truncate(time.Millisecond))) {
				t.Errorf("got %q of %v, %t", document, at, ok)
			}
			if n := log.lines("state file ignored"); n != map[bool]int{true: 0, false: 1}[c.want] {
				t.Errorf("%d lines:\n%s", n, log)
			}
		})
	}
}

func TestPolicyFilesArePrivateAndBesideTheInstances(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, log := newTestSaver(t, dir)
	s.put(ordersKey, members("orders-1"), time.Now())
	s.putPolicy(ordersKey, make([]byte, bounds.MaxPolicy), time.Now())
	s.flush()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("files %v, %v", entries, err)
	}
	if info, err := os.Stat(s.policyPath(ordersKey)); err != nil || info.Mode() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("%v, %v", info, err)
	}
	if document, _, ok := s.loadPolicy(ordersKey, time.Now()); !ok || len(document) != bounds.MaxPolicy {
		t.Errorf("the largest document comes back with %d bytes, %t", len(document), ok)
	}
	for text, document := range map[string][]byte{"none": nil, "<>": {}} {
		s.putPolicy(ordersKey, document, time.Now())
		s.flush()
		got, _, ok := s.loadPolicy(ordersKey, time.Now())
		if !ok || showPolicy(discovery.PolicyDocument{Document: got}) != text {
			t.Errorf("%s came back as %s, %t", text, showPolicy(discovery.PolicyDocument{Document: got}), ok)
		}
	}
	if log.String() != "" {
		t.Errorf("log:\n%s", log)
	}
}

func FuzzPolicyState(f *testing.F) {
	c := mustCoder(f)
	for _, document := range [][]byte{nil, {}, []byte("version: 1")} {
		data, err := c.encodePolicy(ordersKey, document, time.UnixMilli(1_700_000_000_000))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, data []byte) {
		document, at, err := c.decodePolicy(data, ordersKey)
		if err != nil {
			return
		}
		again, err := c.encodePolicy(ordersKey, document, at)
		if err != nil {
			t.Fatal(err)
		}
		back, backAt, err := c.decodePolicy(again, ordersKey)
		want := showPolicy(discovery.PolicyDocument{Document: document})
		if err != nil || showPolicy(discovery.PolicyDocument{Document: back}) != want || !backAt.Equal(at) {
			t.Fatalf("%s came back as %q, %v", want, back, err)
		}
	})
}
