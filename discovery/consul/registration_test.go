package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/security"
)

func register(t *testing.T, r *Registry, in discovery.Instance) discovery.Registration {
	t.Helper()
	g, err := r.Register(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestARegistrationIsKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, log := a.registry(t, Config{})
		if got := r.Describe(); got != "Consul at 127.0.0.1:8500" {
			t.Errorf("before: %s", got)
		}
		register(t, r, instance("orders-1"))
		if got := r.Describe(); got != "Consul at 127.0.0.1:8500 (dc1)" || r.Datacenter() != "dc1" {
			t.Errorf("after: %s", got)
		}
		a.count("")
		settle(10 * time.Minute)
		if n := a.count("/v1/agent/check/update/"); n < 100 || n > 140 {
			t.Errorf("%d heartbeats in 10 minutes, want about 120", n)
		}
		if log.String() != "" {
			t.Errorf("an uneventful life is logged:\n%s", log)
		}
	})
}

func TestAForgottenRegistrationIsBackInTime(t *testing.T) {
	for name, outage := range map[string]time.Duration{"at once": 0, "after a long outage": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t)
				r, _ := a.registry(t, Config{})
				in := instance("orders-1")
				in.Status = discovery.Draining
				register(t, r, in)
				settle(time.Minute)
				a.down(true)
				settle(outage)
				a.forget()
				a.down(false)
				settle(15 * time.Second)
				if got := a.ids(); !slices.Equal(got, []string{"orders-1"}) {
					t.Fatalf("15 s after the agent's return it knows %q", got)
				}
				a.mu.Lock()
				defer a.mu.Unlock()
				if h := a.services["orders-1"]; h.reg.Meta[metaStatus] != statusDrain || h.checks[api.ServiceMaintPrefix+"orders-1"] == "" {
					t.Errorf("it came back as %+v", h)
				}
			})
		})
	}
}

func TestAChangedRegistrationIsPutRight(t *testing.T) {
	for name, spoil := range map[string]func(h *held){
		"tags":    func(h *held) { h.reg.Tags = []string{"evil"} },
		"address": func(h *held) { h.reg.Address = "192.0.2.66" },
		"weight":  func(h *held) { h.reg.Weights.Passing = 9 },
		"check":   func(h *held) { clear(h.checks) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t)
				r, log := a.registry(t, Config{})
				register(t, r, instance("orders-1"))
				settle(30 * time.Second)
				a.mu.Lock()
				h := a.services["orders-1"]
				want, weights := h.reg, *h.reg.Weights
				spoil(h)
				a.mu.Unlock()
				settle(2 * verifyEvery)
				a.mu.Lock()
				defer a.mu.Unlock()
				h = a.services["orders-1"]
				if !slices.Equal(h.reg.Tags, want.Tags) || h.reg.Address != want.Address || *h.reg.Weights != weights ||
					h.checks[want.Check.CheckID] != api.HealthPassing {
					t.Errorf("it stays %+v", h)
				}
				if log.lines("registered again") != 1 {
					t.Errorf("log:\n%s", log)
				}
			})
		})
	}
}

func TestDrainingIsMaintenanceAndUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		in := instance("orders-1")
		g := register(t, r, in)
		ch := watchOrders(t, r)
		settle(time.Minute)
		newest(t, ch)
		for _, c := range []struct {
			status discovery.Status
			want   string
			checks int
		}{{discovery.Draining, "orders-1(draining)", 2}, {discovery.Serving, "orders-1", 1}} {
			in.Status = c.status
			if err := g.Update(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			settle(time.Second)
			if got := show(newest(t, ch)); got != c.want {
				t.Errorf("%v: seen as %s", c.status, got)
			}
			a.mu.Lock()
			if n := len(a.services["orders-1"].checks); n != c.checks {
				t.Errorf("%v: %d checks, want %d", c.status, n, c.checks)
			}
			a.mu.Unlock()
		}
	})
}

func TestAnUpdateThatDidNotArriveIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		in := instance("orders-1")
		g := register(t, r, in)
		settle(time.Minute)
		a.down(true)
		in.Tags = []string{"v2"}
		if err := g.Update(t.Context(), in); !errors.Is(err, discovery.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
		settle(time.Minute)
		a.down(false)
		settle(15 * time.Second)
		a.mu.Lock()
		defer a.mu.Unlock()
		if got := a.services["orders-1"].reg.Tags; !slices.Equal(got, append(in.Tags, "link-ns-default")) {
			t.Errorf("tags %q, want %q and that of the namespace", got, in.Tags)
		}
	})
}

func TestADeniedRegistrationNamesTheRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.setFault(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut {
				return false
			}
			http.Error(w, "Permission denied", http.StatusForbidden)
			return true
		})
		r, _ := a.registry(t, Config{Token: security.Hide("s3cr3t-token")})
		_, err := r.Register(t.Context(), instance("orders-1"))
		if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), `service "orders" { policy = "write" }`) {
			t.Errorf("error %v", err)
		}
		if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("the error holds the token: %v", err)
		}
		a.setFault(nil)
		// The ID is not left reserved.
		register(t, r, instance("orders-1"))
	})
}

func TestMetaKeysOfLinkAreRefused(t *testing.T) {
	a := newAgent(t)
	r, _ := a.registry(t, Config{})
	for _, key := range []string{"link-proto", "link-x", "consul-version"} {
		in := instance("orders-1")
		in.Meta = map[string]string{key: "1"}
		_, err := r.Register(t.Context(), in)
		var fe *discovery.FieldError
		if !errors.Is(err, discovery.ErrInvalidInstance) || !errors.As(err, &fe) || fe.Value != key {
			t.Errorf("%s: error %v", key, err)
		}
	}
}

func TestCloseDoesNotWaitForAnAgentThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, log := a.registry(t, Config{})
		for _, id := range []string{"orders-1", "orders-2", "orders-3"} {
			register(t, r, instance(id))
		}
		watchOrders(t, r)
		settle(time.Minute)
		a.setFault(func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		})
		settle(2 * time.Second)
		start := time.Now()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > closeTime {
			t.Errorf("Close took %v, want at most %v", took, closeTime)
		}
		if n := log.lines("could not be withdrawn"); n != 3 {
			t.Errorf("%d lines, want one for each instance:\n%s", n, log)
		}
	})
}

func TestARegisterOfUnknownOutcomeIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		a.setFault(func(_ http.ResponseWriter, r *http.Request) bool {
			// The query after the write fails, so Register does not know that the agent has the instance.
			if len(a.ids()) == 1 && ctx.Err() == nil {
				cancel()
				<-r.Context().Done()
				return true
			}
			return false
		})
		if _, err := r.Register(ctx, instance("orders-1")); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if got := a.ids(); len(got) != 0 {
			t.Errorf("the agent still announces %q", got)
		}
	})
}

// TestALateWriteOfOnesOwnIsNoDuplicate has the agent apply a write long after Register has given up on it. What the
// agent then holds is this process's own registration, so the ID must not be refused.
func TestALateWriteOfOnesOwnIsNoDuplicate(t *testing.T) {
	for name, c := range map[string]struct {
		// looks means that the agent answers other requests during the write.
		looks bool
	}{"the agent stands still": {false}, "only the write is slow": {true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t)
				r, _ := a.registry(t, Config{})
				resumed, stalled := make(chan struct{}), false
				a.setFault(func(_ http.ResponseWriter, r *http.Request) bool {
					switch {
					case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/service/register"):
						a.mu.Lock()
						stalled = true
						a.mu.Unlock()
						<-resumed
						return false
					case !c.looks:
						a.mu.Lock()
						ill := stalled
						a.mu.Unlock()
						if ill {
							<-r.Context().Done()
						}
						return ill
					}
					return false
				})
				in := instance("orders-1")
				if _, err := r.Register(t.Context(), in); !errors.Is(err, discovery.ErrUnavailable) {
					t.Fatalf("error %v, want ErrUnavailable", err)
				}
				a.setFault(nil)
				close(resumed)
				settle(time.Second)
				if got := a.ids(); len(got) != 1 {
					t.Fatalf("the agent holds %q, want what was written late", got)
				}
				in.Tags = []string{"second"}
				register(t, r, in)
				settle(2 * verifyEvery)
				a.mu.Lock()
				defer a.mu.Unlock()
				if got := a.services["orders-1"].reg.Tags; !slices.Contains(got, "second") {
					t.Errorf("the agent holds tags %q, want those of the second registration", got)
				}
			})
		})
	}
}

func TestAnIDThatCouldNotBeWithdrawnIsTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		g := register(t, r, instance("orders-1"))
		a.down(true)
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		a.down(false)
		register(t, r, instance("orders-1"))
	})
}

func TestAsManyOwnersAreRememberedAsThereIsRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, log := a.registry(t, Config{})
		for i := range maxLoose + 1 {
			r.keepOwner(fmt.Sprint("orders-", i), "owner")
		}
		if n := log.lines("forgotten"); len(r.loose) != maxLoose || n != 1 {
			t.Errorf("%d owners are remembered, want %d; %d lines say that one was forgotten:\n%s", len(r.loose), maxLoose, n, log)
		}
		if r.ownerOf("orders-0") == "owner" || r.ownerOf("orders-1") != "owner" {
			t.Error("it is not the oldest that has made way")
		}
	})
}
