package link_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// mute is a registry that never answers for one service.
type mute struct {
	discovery.Registry

	service string
}

func (m *mute) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	if q.Service != m.service {
		return m.Registry.Watch(ctx, q)
	}
	ch := make(chan discovery.Snapshot)
	go func() { <-ctx.Done(); close(ch) }()
	return ch, nil
}

// emptied is a registry that lists no instances while empty is set.
type emptied struct {
	discovery.Registry

	empty *atomic.Bool
}

func (m *emptied) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	from, err := m.Registry.Watch(ctx, q)
	if err != nil {
		return nil, err
	}
	to := make(chan discovery.Snapshot)
	go func() {
		defer close(to)
		for s := range from {
			if m.empty.Load() {
				s.Instances = nil
			}
			select {
			case to <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	return to, nil
}

func TestAStreamOutranksTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		topic := link.Route{Service: "orders", Name: "placed", Kind: link.KindTopic}
		node := mesh.Node(link.Config{Service: "orders"})
		link.HostOf(node).Handle(topic, func(ctx context.Context, _ *link.Stream) error { <-ctx.Done(); return nil })
		mesh.Start(node)
		var empty atomic.Bool
		registry := &shared{Registry: mesh.Registry()}
		gate := &emptied{registry, &empty}
		client := mesh.Node(link.Config{Registry: gate})
		s, err := link.HostOf(client).Open(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sleep(time.Second)
		empty.Store(true)
		r, err := mesh.Registry().Register(t.Context(), discovery.Instance{ID: "orders-zz", Service: "orders", Addr: "10.1.1.1:1", Status: discovery.Draining})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		sleep(5 * time.Second)
		st := client.Status().Services[0]
		if st.Held != 1 {
			t.Errorf("an instance with a live stream is not held: %+v", st)
		}
	})
}

// TestTheLastConnectionOutranksTheRegistry has live instances vanish one by one from a registry that others can write to.
func TestTheLastConnectionOutranksTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		for i := range 4 {
			ordersAt(mesh, fmt.Sprint("n", i))
		}
		ghost := discovery.Instance{ID: "orders-ghost", Service: "orders", Addr: "10.9.9.9:7443"}
		if _, err := mesh.Registry().Register(t.Context(), ghost); err != nil {
			t.Fatal(err)
		}
		var hidden atomic.Int32
		registry := &hiding{shared: &shared{Registry: mesh.Registry()}, hidden: &hidden}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		for range 50 {
			warm(t, client)
		}
		for n := range 4 {
			hidden.Store(int32(n + 1))
			// Change the registry so that it sends a new snapshot.
			in := discovery.Instance{ID: fmt.Sprint("orders-zz", n), Service: "orders", Addr: "10.9.9.9:7443", Status: discovery.Draining}
			if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			sleep(time.Second)
		}
		// 200 s is longer than the minimum time for which vanished instances are held.
		for range 200 {
			if _, err := ask(t, client); err != nil {
				t.Fatalf("an instance whose connection answers was dropped: %v", err)
			}
			sleep(time.Second)
		}
		if !strings.Contains(log.String(), "stay in use while") {
			t.Errorf("log:\n%s", log)
		}
	})
}

// hiding is a shared registry that leaves out the first n live instances, which are those with tags. n is in hidden.
type hiding struct {
	*shared

	hidden *atomic.Int32
}

func (h *hiding) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	from, err := h.shared.Watch(ctx, q)
	if err != nil {
		return nil, err
	}
	to := make(chan discovery.Snapshot)
	go func() {
		defer close(to)
		for s := range from {
			var kept []discovery.Instance
			left := int(h.hidden.Load())
			for _, in := range s.Instances {
				if left > 0 && len(in.Tags) > 0 {
					left--
					continue
				}
				kept = append(kept, in)
			}
			s.Instances = kept
			select {
			case to <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	return to, nil
}

// ill is a registry in which nothing can be registered until a given time.
type ill struct {
	discovery.Registry

	until time.Time
}

func (i *ill) Register(ctx context.Context, in discovery.Instance) (discovery.Registration, error) {
	if time.Now().Before(i.until) {
		return nil, fmt.Errorf("no answer: %w", discovery.ErrUnavailable)
	}
	return i.Registry.Register(ctx, in)
}

func TestANodeStartsWhileItsRegistryIsIll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		log := &logBuffer{}
		node := mesh.Node(link.Config{
			Service: "orders", Logger: log.logger(),
			Registry: &ill{Registry: mesh.Registry(), until: time.Now().Add(10 * time.Second)},
		})
		reqrep.Handle(node, readOrder, keep)
		start := time.Now()
		// Start waits until the node is ready.
		mesh.Start(node)
		if took := time.Since(start); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("announced after %v, and the registry was well after 10 s", took)
		}
		if _, err := ask(t, mesh.Node(link.Config{})); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "the registry cannot be reached"); n != 1 {
			t.Errorf("%d log lines:\n%s", n, log)
		}
	})
}

// TestCallsGoOnWhileTheRegistryIsIll makes a call a second for ten minutes while the registry's snapshots are stale.
func TestCallsGoOnWhileTheRegistryIsIll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		ordersAt(mesh, "b")
		registry := &staling{Registry: mesh.Registry(), after: time.Now().Add(time.Second)}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		warm(t, client)
		sleep(2 * time.Second)
		end := time.Now().Add(10 * time.Minute)
		for i := 0; time.Now().Before(end); i++ {
			if _, err := ask(t, client); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
			sleep(time.Second)
		}
		s := client.Status().Services[0]
		if !s.Stale || s.Reason != "gone" || s.Instances != 2 {
			t.Errorf("status %+v", s)
		}
		if n := strings.Count(log.String(), "the registry cannot be read"); n != 1 {
			t.Errorf("%d log lines:\n%s", n, log)
		}
	})
}

// staling is a registry whose snapshots become stale at a given time.
type staling struct {
	discovery.Registry

	after time.Time
}

func (s *staling) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	from, err := s.Registry.Watch(ctx, q)
	if err != nil {
		return nil, err
	}
	to := make(chan discovery.Snapshot)
	go func() {
		defer close(to)
		var last discovery.Snapshot
		ill := time.NewTimer(time.Until(s.after))
		defer ill.Stop()
		for {
			select {
			case snapshot, ok := <-from:
				if !ok {
					return
				}
				last = snapshot
			case <-ill.C:
				last.Stale, last.Reason, last.Version = true, "gone", last.Version+1
			}
			select {
			case to <- last:
			case <-ctx.Done():
				return
			}
		}
	}()
	return to, nil
}
