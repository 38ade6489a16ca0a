package consul

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

var _ discovery.Finder = (*Registry)(nil)

const placedTag = "topic:placed"

func findPlaced(t *testing.T, r *Registry) <-chan []string {
	t.Helper()
	ch, err := r.Find(t.Context(), discovery.TagQuery{Tag: placedTag})
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// lists fails the test unless a new list is there and equals want.
func lists(t *testing.T, ch <-chan []string, want ...string) {
	t.Helper()
	select {
	case got := <-ch:
		if !slices.Equal(got, want) {
			t.Errorf("found %q, want %q", got, want)
		}
	default:
		t.Errorf("nothing new, want %q", want)
	}
}

func quiet(t *testing.T, ch <-chan []string, why string) {
	t.Helper()
	select {
	case got, open := <-ch:
		t.Errorf("%s: told of %q (open: %t)", why, got, open)
	default:
	}
}

// offer returns an instance of a service with tags.
func offer(service string, tags ...string) discovery.Instance {
	return discovery.Instance{ID: service + "-1", Service: service, Addr: "192.0.2.1:7443", Tags: tags}
}

func TestServicesWithATagAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, log := a.registry(t, Config{})
		ch := findPlaced(t, r)
		settle(0)
		lists(t, ch)
		a.add(t, offer("shop", placedTag, "v2"), offer("desk", "v2"))
		settle(time.Second)
		lists(t, ch, "shop")
		elsewhere := offer("other", placedTag)
		elsewhere.Namespace = "elsewhere"
		a.add(t, elsewhere)
		settle(2 * time.Second)
		quiet(t, ch, "another namespace")
		a.add(t, offer("desk", placedTag))
		settle(time.Second)
		lists(t, ch, "desk", "shop")
		late := findPlaced(t, r)
		settle(0)
		lists(t, late, "desk", "shop")
		a.remove("shop-1")
		settle(time.Second)
		lists(t, ch, "desk")
		a.count("")
		settle(10 * time.Minute)
		if n := a.count("/v1/catalog/services"); n < 10 || n > 13 {
			t.Errorf("%d queries in 10 idle minutes, want one each 50 to 55 s for both watches", n)
		}
		if n := log.lines("level=WARN"); n != 0 {
			t.Errorf("warnings:\n%s", log)
		}
	})
}

func TestEveryDatacenterIsSearched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, offer("shop", placedTag))
		far := true
		a.setFault(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("dc") != "dc2" {
				return false
			}
			a.wait(r)
			a.mu.Lock()
			defer a.mu.Unlock()
			if !far {
				http.Error(w, "No path to datacenter", http.StatusInternalServerError)
				return true
			}
			a.answerLocked(w, map[string][]string{"desk": {placedTag}, "shop": {placedTag}})
			return true
		})
		r, log := a.registry(t, Config{Datacenters: []string{"dc2"}})
		ch := findPlaced(t, r)
		settle(time.Second)
		lists(t, ch, "desk", "shop")
		a.mu.Lock()
		far = false
		a.mu.Unlock()
		a.add(t, offer("new", placedTag))
		settle(5 * time.Second)
		lists(t, ch, "desk", "new", "shop")
		settle(time.Hour)
		quiet(t, ch, "a datacenter that fails")
		if n := log.lines("cannot be read"); n != 1 || log.lines("datacenter=dc2") != 1 {
			t.Errorf("%d warnings, want 1, of dc2:\n%s", n, log)
		}
	})
}

func TestAnIllRegistryWithdrawsNoName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, offer("shop", placedTag))
		r, log := a.registry(t, Config{})
		ch := findPlaced(t, r)
		settle(time.Second)
		lists(t, ch, "shop")
		answers := func(code int, header, body string) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool {
				if name, value, ok := strings.Cut(header, ": "); ok {
					w.Header().Set(name, value)
				}
				w.Header().Set("X-Consul-Index", "7")
				w.WriteHeader(code)
				_, _ = w.Write([]byte(body))
				return true
			}
		}
		for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
			"429":             answers(http.StatusTooManyRequests, "", "slow down"),
			"403":             answers(http.StatusForbidden, "", "Permission denied"),
			"500":             answers(http.StatusInternalServerError, "", "No cluster leader"),
			"HTML":            answers(http.StatusOK, "", "<html>"),
			"null":            answers(http.StatusOK, "", "null"),
			"a list":          answers(http.StatusOK, "", "[]"),
			"cut":             answers(http.StatusOK, "", `{"shop": [`),
			"no leader":       answers(http.StatusOK, "X-Consul-KnownLeader: false", "{}"),
			"hidden by rules": answers(http.StatusOK, "X-Consul-Results-Filtered-By-ACLs: true", "{}"),
		} {
			a.setFault(fault)
			settle(10 * time.Minute)
			quiet(t, ch, name)
			late, err := r.Find(t.Context(), discovery.TagQuery{Tag: placedTag})
			if err != nil {
				t.Fatal(err)
			}
			lists(t, late, "shop")
			a.setFault(nil)
			settle(time.Minute)
			quiet(t, ch, "after "+name)
		}
		if n := log.lines("level=WARN"); n < 9 || n > 12 {
			t.Errorf("%d warnings, want about one for each fault:\n%s", n, log)
		}
		a.down(true)
		settle(time.Minute)
		a.forget()
		a.down(false)
		settle(doubtTime - time.Second)
		quiet(t, ch, "a Consul that restarted with nothing")
		settle(time.Minute)
		lists(t, ch)
	})
}

func TestTheFirstListIsPromptWithoutConsul(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, offer("shop", placedTag))
		a.down(true)
		r, _ := a.registry(t, Config{})
		ch := findPlaced(t, r)
		settle(0)
		lists(t, ch)
		a.down(false)
		settle(retryMost)
		lists(t, ch, "shop")
	})
}

// TestAConsulWithoutFilters has a Consul ignore filters and answer with all services and tags, and expects only the
// matching service.
func TestAConsulWithoutFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.old = true
		a.add(t, offer("shop", "v2", placedTag), offer("desk", "v2"))
		r, _ := a.registry(t, Config{})
		ch := findPlaced(t, r)
		settle(time.Second)
		lists(t, ch, "shop")
	})
}

func TestTooManyNamesAndBadOnesAreLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, offer("shop", placedTag))
		r, log := a.registry(t, Config{})
		ch := findPlaced(t, r)
		settle(time.Second)
		lists(t, ch, "shop")
		flood := map[string][]string{"shop": {placedTag}, "a b\n": {placedTag}, "": {placedTag}}
		for i := range bounds.MaxServices {
			flood[fmt.Sprintf("a%05d", i)] = []string{placedTag}
		}
		a.setFault(func(w http.ResponseWriter, r *http.Request) bool {
			a.wait(r)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.answerLocked(w, flood)
			return true
		})
		settle(2 * time.Second)
		got := <-ch
		if len(got) != bounds.MaxServices || !slices.Contains(got, "shop") || slices.Contains(got, "a b\n") {
			t.Errorf("%d names, want %d with shop", len(got), bounds.MaxServices)
		}
		settle(5 * time.Minute)
		if log.lines("too many services have one tag") != 1 || log.lines("entries left out") != 1 {
			t.Errorf("log:\n%s", log)
		}
	})
}

// TestRegistrationsWithoutABreakCostLessAndLess checks that queries slow down to one per findPace in
// a datacenter where something is registered all the time.
func TestRegistrationsWithoutABreakCostLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.add(t, offer("shop", placedTag))
		r, _ := a.registry(t, Config{})
		ch := findPlaced(t, r)
		settle(time.Second)
		lists(t, ch, "shop")
		for i := range 20 * 60 * 5 {
			a.add(t, offer("n"+strconv.Itoa(i%100)))
			settle(200 * time.Millisecond)
			if i == 5*60*10 {
				a.count("")
			}
		}
		if n, want := a.count("/v1/catalog/services"), int(10*time.Minute/findPace); n < want-5 || n > want+5 {
			t.Errorf("%d queries in 10 minutes, want about %d", n, want)
		}
		quiet(t, ch, "others register")
	})
}

func TestAFindThatNobodyReadsStopsAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		r, _ := a.registry(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			if _, err := r.Find(ctx, discovery.TagQuery{Tag: placedTag}); err != nil {
				t.Fatal(err)
			}
		}
		settle(time.Second)
		if n := a.count("/v1/catalog/services"); n != 2 {
			t.Errorf("%d queries for three watches of one tag, want 2: one that looks and one that waits", n)
		}
		cancel()
		settle(0)
		r.mu.Lock()
		if n := len(r.finders) + len(r.stops); n != 0 {
			t.Errorf("%d things are left", n)
		}
		r.mu.Unlock()
		settle(10 * time.Minute)
		if n := a.count("/v1/catalog/services"); n != 0 {
			t.Errorf("%d queries after the end of all", n)
		}
		ch := findPlaced(t, r)
		settle(time.Second)
		lists(t, ch)
	})
}

func TestTagFilterQuotes(t *testing.T) {
	for tag, want := range map[string]string{
		"topic:a": `"topic:a"`,
		`a"b`:     `"a\x22b"`,
		`a\`:      `"a\\"`,
		`\"`:      `"\\\x22"`,
		"größe=`": "\"größe=`\"",
	} {
		want += ` in ServiceTags and ServiceMeta["link-ns"] == "shop"`
		if got := tagFilter(discovery.TagQuery{Tag: tag, Namespace: "shop"}); got != want {
			t.Errorf("%s: got %s, want %s", tag, got, want)
		}
	}
}
