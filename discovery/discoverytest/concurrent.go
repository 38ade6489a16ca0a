package discoverytest

import (
	"errors"
	"io"
	"strconv"
	"sync"
	"testing"

	"github.com/linkmesh/link/discovery"
)

func concurrentUse(t *testing.T, k *kit) {
	const workers, rounds = 8, 10
	r := k.registry(t)
	service := newName("orders")
	w := k.watchService(t, r, service)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range rounds {
				in := instance(service)
				g, err := r.Register(t.Context(), in)
				if err != nil {
					t.Errorf("Register: %v", err)
					return
				}
				in.Tags = []string{"round=" + strconv.Itoa(i)}
				if err := g.Update(t.Context(), in); err != nil {
					t.Errorf("Update: %v", err)
				}
				if err := g.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
		})
	}
	wg.Wait()
	last := instance(service)
	register(t, r, last)
	w.untilIDs(t, last.ID)
}

func concurrentRegistration(t *testing.T, k *kit) {
	const workers, rounds = 4, 10
	r := k.registry(t)
	in := instance(newName("orders"))
	g := register(t, r, in)
	w := k.watchService(t, r, in.Service)
	w.untilIDs(t, in.ID)
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			for i := range rounds {
				changed := in
				changed.Tags = []string{"by=" + strconv.Itoa(n), "round=" + strconv.Itoa(i)}
				if err := g.Update(t.Context(), changed); err != nil && !errors.Is(err, discovery.ErrClosed) {
					t.Errorf("Update: %v", err)
				}
			}
			if err := g.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	w.untilIDs(t)
}

func registryCloses(t *testing.T, k *kit) {
	r := k.registry(t)
	c, ok := r.(io.Closer)
	if !ok {
		return
	}
	in := instance(newName("orders"))
	g := register(t, r, in)
	w := k.watchService(t, r, in.Service)
	unread := k.watchService(t, r, newName("nobody"))
	w.untilIDs(t, in.ID)
	closeNow(t, c)
	closeNow(t, c)
	w.untilClosed(t)
	unread.untilClosed(t)
	refused(t, "Update", g.Update(t.Context(), in), discovery.ErrClosed)
	closeNow(t, g)
	_, err := r.Register(t.Context(), instance(in.Service))
	refused(t, "Register", err, discovery.ErrClosed)
	_, err = r.Watch(t.Context(), in.Query())
	refused(t, "Watch", err, discovery.ErrClosed)
}

func describes(t *testing.T, k *kit) {
	if d, ok := k.registry(t).(discovery.Describer); ok && d.Describe() == "" {
		t.Error("Describe returns nothing")
	}
}
