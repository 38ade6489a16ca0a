package discoverytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/linkmesh/link/discovery"
)

// listCases returns the tests of discovery.Lister.
func listCases() []testcase {
	return []testcase{
		{"list: the services of a namespace come and go", ifLister(listComesAndGoes)},
		{"list: a bad namespace, an ended context and a closed registry are refused", ifLister(listRefuses)},
	}
}

// listRegistry is a registry that also implements discovery.Lister.
type listRegistry interface {
	discovery.Registry
	discovery.Lister
}

// ifLister returns a test that runs only for registries that implement discovery.Lister.
func ifLister(test func(t *testing.T, k *kit, r listRegistry)) func(t *testing.T, k *kit) {
	return func(t *testing.T, k *kit) {
		if r, ok := k.registry(t).(listRegistry); ok {
			test(t, k, r)
		}
	}
}

func listComesAndGoes(t *testing.T, k *kit, r listRegistry) {
	space, service := newName("space"), newName("orders")
	in := instance(service)
	in.Namespace = space
	// other is in the default namespace.
	other := instance(newName("users"))
	list := func(want ...string) {
		t.Helper()
		var got []string
		k.eventually(t, func() bool {
			var err error
			if got, err = r.Services(t.Context(), space); err != nil {
				t.Fatal(err)
			}
			return slices.Equal(got, want)
		}, func() string { return fmt.Sprintf("the services of the namespace are %q, want %q", got, want) })
	}
	list()
	register(t, r, other)
	g := register(t, r, in)
	twin := in
	twin.ID = discovery.NewInstanceID(service)
	second := register(t, r, twin)
	list(service)
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	list(service)
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	list()
}

func listRefuses(t *testing.T, _ *kit, r listRegistry) {
	if _, err := r.Services(t.Context(), "not a name"); !errors.Is(err, discovery.ErrInvalidQuery) {
		t.Errorf("a bad namespace: %v, want ErrInvalidQuery", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Services(ended, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v, want its error", err)
	}
	if c, ok := r.(io.Closer); ok {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Services(t.Context(), ""); !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("a closed registry: %v, want ErrClosed", err)
		}
	}
}
