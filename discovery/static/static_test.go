package static_test

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/discoverytest"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/bounds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) discovery.Registry {
	t.Helper()
	return mustNew(t)
}

func mustNew(t *testing.T, instances ...discovery.Instance) *static.Registry {
	t.Helper()
	r, err := static.New(instances...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestContract(t *testing.T) {
	t.Run("real time", func(t *testing.T) { discoverytest.Run(t, discoverytest.Backend{Open: open}) })
	t.Run("virtual time", func(t *testing.T) { discoverytest.Run(t, discoverytest.Backend{Open: open, Bubble: true}) })
	t.Run("one value shared", func(t *testing.T) {
		discoverytest.Run(t, discoverytest.Backend{Open: open, Bubble: true, OpenShared: func(t *testing.T) (a, b discovery.Registry) {
			t.Helper()
			r := mustNew(t)
			return unclosable{r, r}, unclosable{r, r}
		}})
	})
}

// unclosable hides Close, so that two handles of one value can be told apart.
type unclosable struct {
	discovery.Registry
	discovery.Finder
}

func at(service, addr string, tags ...string) discovery.Instance {
	return discovery.Instance{Service: service, Addr: addr, Tags: tags}
}

func addrs(s discovery.Snapshot) []string {
	var all []string
	for _, in := range s.Instances {
		all = append(all, in.Addr)
	}
	return all
}

func TestSetReplacesTheListAndKeepsRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := mustNew(t, at("orders", "192.0.2.1:7443"))
		watch := func(service string) <-chan discovery.Snapshot {
			ch, err := r.Watch(t.Context(), discovery.Query{Service: service})
			if err != nil {
				t.Fatal(err)
			}
			return ch
		}
		orders, users := watch("orders"), watch("users")
		if got := addrs(<-orders); len(got) != 1 || got[0] != "192.0.2.1:7443" {
			t.Errorf("listed: %q", got)
		}
		if got := addrs(<-users); len(got) != 0 {
			t.Errorf("users: %q", got)
		}
		joined := at("orders", "192.0.2.7:7443")
		joined.ID = "orders-joined"
		if _, err := r.Register(t.Context(), joined); err != nil {
			t.Fatal(err)
		}
		if got := addrs(<-orders); len(got) != 2 {
			t.Errorf("after Register: %q", got)
		}
		if err := r.Set(at("users", "192.0.2.2:7443")); err != nil {
			t.Fatal(err)
		}
		if got := addrs(<-orders); len(got) != 1 || got[0] != "192.0.2.7:7443" {
			t.Errorf("orders after Set: %q", got)
		}
		if got := addrs(<-users); len(got) != 1 || got[0] != "192.0.2.2:7443" {
			t.Errorf("users after Set: %q", got)
		}
		// The same list again changes nothing.
		if err := r.Set(at("users", "192.0.2.2:7443")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(orders)+len(users) != 0 {
			t.Error("a snapshot without a change")
		}
	})
}

func TestSetRefusesAsAWhole(t *testing.T) {
	r := mustNew(t, at("orders", "192.0.2.1:7443"))
	many := make([]discovery.Instance, 0, bounds.MaxInstances+1)
	for i := range bounds.MaxInstances + 1 {
		many = append(many, at("many", "192.0.2.1:"+strconv.Itoa(1+i)))
	}
	for name, c := range map[string]struct {
		list []discovery.Instance
		want error
	}{
		"an invalid instance": {[]discovery.Instance{at("users", "192.0.2.2:7443"), at("users", "nowhere")}, discovery.ErrInvalidInstance},
		"the same twice":      {[]discovery.Instance{at("users", "192.0.2.2:7443"), at("users", "192.0.2.2:7443", "v2")}, discovery.ErrDuplicateID},
		"too many":            {many, discovery.ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			if err := r.Set(c.list...); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if _, err := static.New(c.list...); !errors.Is(err, c.want) {
				t.Errorf("New: error %v, want %v", err, c.want)
			}
			ch, err := r.Watch(t.Context(), discovery.Query{Service: "orders"})
			if err != nil {
				t.Fatal(err)
			}
			if got := addrs(<-ch); len(got) != 1 || got[0] != "192.0.2.1:7443" {
				t.Errorf("a refused Set left %q", got)
			}
		})
	}
}

func TestSetNamesTheFieldThatIsWrong(t *testing.T) {
	r := mustNew(t)
	for want, in := range map[string]discovery.Instance{
		"Service": at("or ders", "192.0.2.1:7443"),
		"Addr":    at("orders", "nowhere"),
	} {
		var field *discovery.FieldError
		if err := r.Set(in); !errors.As(err, &field) || field.Field != want {
			t.Errorf("an instance without an ID: %v, want what is wrong with %s", err, want)
		}
	}
}

func TestSetRefusesAnIDThatIsRegistered(t *testing.T) {
	r := mustNew(t)
	in := at("orders", "192.0.2.1:7443")
	in.ID = "orders-1"
	if _, err := r.Register(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if err := r.Set(in); !errors.Is(err, discovery.ErrDuplicateID) {
		t.Errorf("error %v, want ErrDuplicateID", err)
	}
}

func TestRegisterStopsAtTheLimit(t *testing.T) {
	many := make([]discovery.Instance, 0, bounds.MaxInstances)
	for i := range bounds.MaxInstances {
		many = append(many, at("many", "192.0.2.1:"+strconv.Itoa(1+i)))
	}
	r := mustNew(t, many...)
	in := at("many", "192.0.2.2:7443")
	in.ID = "many-more"
	if _, err := r.Register(t.Context(), in); !errors.Is(err, discovery.ErrLimit) {
		t.Errorf("error %v, want ErrLimit", err)
	}
}

func TestSetAfterCloseIsRefused(t *testing.T) {
	r := mustNew(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Set(); !errors.Is(err, discovery.ErrClosed) {
		t.Errorf("error %v, want ErrClosed", err)
	}
}
