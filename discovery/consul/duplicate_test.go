package consul

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
)

func TestAnIDInUseIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, instance("orders-1"))
		r, _ := a.registry(t, Config{})
		in := instance("orders-1")
		in.Service, in.Addr = "billing", "192.0.2.9:1"
		_, err := r.Register(t.Context(), in)
		if !errors.Is(err, discovery.ErrDuplicateID) || !strings.Contains(err.Error(), "service orders at 192.0.2.1 port 7443") {
			t.Errorf("error %v", err)
		}
		// The heartbeats of the ID's holder have stopped.
		a.mu.Lock()
		for id := range a.services["orders-1"].checks {
			a.services["orders-1"].checks[id] = api.HealthCritical
		}
		a.mu.Unlock()
		register(t, r, in)
		a.mu.Lock()
		defer a.mu.Unlock()
		if h := a.services["orders-1"]; h.reg.Name != "billing" || len(h.checks) != 1 {
			t.Errorf("the agent holds %+v", h)
		}
	})
}

func TestIDsThatDifferInCaseAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		g := register(t, r, instance("orders-z"))
		if _, err := r.Register(t.Context(), instance("orders-Z")); !errors.Is(err, discovery.ErrDuplicateID) {
			t.Errorf("error %v, want ErrDuplicateID", err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		register(t, r, instance("orders-Z"))
	})
}

// TestOfTwoThatRaceThroughTheOverwrittenOneKnows checks that a process whose registration was overwritten notices it.
// The agent has no compare-and-set, so two processes may both find an ID free.
func TestOfTwoThatRaceThroughTheOverwrittenOneKnows(t *testing.T) {
	for name, age := range map[string]time.Duration{"new": 0, "long established": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t)
				loser, log := a.registry(t, Config{})
				winner, winnerLog := a.registry(t, Config{})
				in := instance("orders-1")
				g := register(t, loser, in)
				settle(age)
				// The winner finds nothing, as if it had looked before the loser registered.
				a.forget()
				h := register(t, winner, in)
				settle(2 * heartbeatEvery)
				if n := log.lines("another process has registered"); n != 1 || strings.Contains(winnerLog.String(), "another") {
					t.Errorf("loser's log:\n%s\nwinner's:\n%s", log, winnerLog)
				}
				in.Tags = []string{"mine"}
				if err := g.Update(t.Context(), in); !errors.Is(err, discovery.ErrDuplicateID) {
					t.Errorf("Update by the loser: %v", err)
				}
				if err := g.Close(); err != nil {
					t.Error(err)
				}
				if got := a.ids(); len(got) != 1 {
					t.Error("the loser withdrew what is the winner's")
				}
				if err := h.Update(t.Context(), in); err != nil {
					t.Errorf("Update by the winner: %v", err)
				}
			})
		})
	}
}

func TestWhoLostAnIDUnawaresTakesNothingOfTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		loser, _ := a.registry(t, Config{})
		winner, _ := a.registry(t, Config{})
		in := instance("orders-1")
		g := register(t, loser, in)
		a.forget()
		register(t, winner, in)
		in.Tags = []string{"mine"}
		if err := g.Update(t.Context(), in); !errors.Is(err, discovery.ErrDuplicateID) {
			t.Errorf("Update: %v", err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if h := a.services["orders-1"]; h == nil || !slices.Equal(h.reg.Tags, []string{"link-ns-default"}) {
			t.Errorf("the agent holds %+v", h)
		}
	})
}

func TestWhoClosesUnawaresTakesNothingOfTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		loser, _ := a.registry(t, Config{})
		winner, _ := a.registry(t, Config{})
		g := register(t, loser, instance("orders-1"))
		a.forget()
		register(t, winner, instance("orders-1"))
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if got := a.ids(); len(got) != 1 {
			t.Errorf("the agent holds %q", got)
		}
	})
}

func TestWhoIsOverwrittenWhileRegisteringIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		looks := 0
		a.setFault(func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/health/service/id/") {
				if looks++; looks == 2 {
					a.add(t, instance("orders-1"))
				}
			}
			return false
		})
		r, _ := a.registry(t, Config{})
		if _, err := r.Register(t.Context(), instance("orders-1")); !errors.Is(err, discovery.ErrDuplicateID) {
			t.Errorf("error %v, want ErrDuplicateID", err)
		}
		if got := a.ids(); len(got) != 1 {
			t.Error("what the other has written was withdrawn")
		}
	})
}

func TestALostIDIsTakenUpAgainWhenItIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		loser, _ := a.registry(t, Config{})
		winner, _ := a.registry(t, Config{})
		register(t, loser, instance("orders-1"))
		a.forget()
		h := register(t, winner, instance("orders-1"))
		settle(2 * heartbeatEvery)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if got := a.ids(); len(got) != 0 {
			t.Fatalf("after the winner's end: %q", got)
		}
		settle(2 * heartbeatEvery)
		if got := a.ids(); len(got) != 1 {
			t.Error("the loser does not announce itself again")
		}
	})
}
