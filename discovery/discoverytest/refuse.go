package discoverytest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

func duplicateRefused(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	register(t, r, in)
	for _, other := range []func(*discovery.Instance){
		func(in *discovery.Instance) { in.Addr = "192.0.2.99:7443" },
		func(in *discovery.Instance) { in.Service += "-archive" },
		func(in *discovery.Instance) { in.Namespace = "shop" },
	} {
		again := in
		other(&again)
		g, err := r.Register(t.Context(), again)
		if err == nil {
			_ = g.Close()
		}
		refused(t, "Register "+again.ID+" as "+again.Query().String(), err, discovery.ErrDuplicateID)
	}
	got := k.watchService(t, r, in.Service).untilIDs(t, in.ID).Instances[0]
	if got.Addr != in.Addr {
		t.Errorf("a refused duplicate changed the address to %s", got.Addr)
	}
}

func duplicateRace(t *testing.T, k *kit) {
	const rivals = 8
	r := k.registry(t)
	in := instance(newName("orders"))
	won := make(chan discovery.Registration, rivals)
	var wg sync.WaitGroup
	for range rivals {
		wg.Go(func() {
			g, err := r.Register(t.Context(), in)
			if err != nil {
				refused(t, "Register by a rival", err, discovery.ErrDuplicateID)
				return
			}
			won <- g
		})
	}
	wg.Wait()
	close(won)
	if len(won) != 1 {
		t.Errorf("%d registrations of one ID, want 1", len(won))
	}
	k.watchService(t, r, in.Service).untilIDs(t, in.ID)
	for g := range won {
		closeNow(t, g)
	}
}

// invalid returns one violation of each rule, keyed by the field that the error names.
func invalid() map[string]func(*discovery.Instance) {
	return map[string]func(*discovery.Instance){
		"ID":        func(in *discovery.Instance) { in.ID = "../orders" },
		"Service":   func(in *discovery.Instance) { in.Service = "" },
		"Namespace": func(in *discovery.Instance) { in.Namespace = "a/b" },
		"Addr":      func(in *discovery.Instance) { in.Addr = "192.0.2.1:0" },
		"Tags[1]":   func(in *discovery.Instance) { in.Tags = []string{"v2", "two words"} },
		"Tags":      func(in *discovery.Instance) { in.Tags = make([]string, bounds.MaxTags+1) },
		"Meta key":  func(in *discovery.Instance) { in.Meta = map[string]string{"a b": "c"} },
		`Meta["a"]`: func(in *discovery.Instance) { in.Meta = map[string]string{"a": "line\nbreak"} },
		"Weight":    func(in *discovery.Instance) { in.Weight = -1 },
		"Status":    func(in *discovery.Instance) { in.Status = 200 },
	}
}

func refusedField(t *testing.T, err error, field string) {
	t.Helper()
	refused(t, "invalid "+field, err, discovery.ErrInvalidInstance)
	var fe *discovery.FieldError
	if !errors.As(err, &fe) || fe.Field != field || !strings.Contains(err.Error(), field) {
		t.Errorf("error %v does not name %s", err, field)
	}
}

func invalidRefused(t *testing.T, k *kit) {
	r := k.registry(t)
	service := newName("orders")
	for field, spoil := range invalid() {
		in := instance(service)
		spoil(&in)
		g, err := r.Register(t.Context(), in)
		if err == nil {
			_ = g.Close()
		}
		refusedField(t, err, field)
	}
	good := instance(service)
	register(t, r, good)
	k.watchService(t, r, service).untilIDs(t, good.ID)
}

func invalidUpdateRefused(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	g := register(t, r, in)
	for field, spoil := range invalid() {
		bad := in
		spoil(&bad)
		refusedField(t, g.Update(t.Context(), bad), field)
	}
	for field, move := range map[string]func(*discovery.Instance){
		"ID":        func(in *discovery.Instance) { in.ID += "x" },
		"Service":   func(in *discovery.Instance) { in.Service += "x" },
		"Namespace": func(in *discovery.Instance) { in.Namespace = "shop" },
	} {
		moved := in
		move(&moved)
		refusedField(t, g.Update(t.Context(), moved), field)
	}
	got := k.watchService(t, r, in.Service).untilIDs(t, in.ID).Instances[0]
	if !same(got, in.Normalized()) {
		t.Errorf("refused updates changed the instance to %+v", got)
	}
	// The explicit default namespace equals the empty one.
	in.Namespace = discovery.DefaultNamespace
	in.Tags = []string{"v2"}
	update(t, g, in)
}

func invalidQueryRefused(t *testing.T, k *kit) {
	r := k.registry(t)
	for field, q := range map[string]discovery.Query{
		"Service":   {Namespace: "shop"},
		"Namespace": {Service: "orders", Namespace: "a b"},
	} {
		_, err := r.Watch(t.Context(), q)
		refused(t, "Watch without a good "+field, err, discovery.ErrInvalidQuery)
		var fe *discovery.FieldError
		if !errors.As(err, &fe) || fe.Field != field {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
}

func endedContextRefused(t *testing.T, k *kit) {
	r := k.registry(t)
	in := instance(newName("orders"))
	live := register(t, r, in)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Watch(ctx, in.Query())
	refused(t, "Watch", err, context.Canceled)
	other := instance(in.Service)
	_, err = r.Register(ctx, other)
	refused(t, "Register", err, context.Canceled)
	changed := in
	changed.Tags = []string{"v2"}
	refused(t, "Update", live.Update(ctx, changed), context.Canceled)
	if got := k.watchService(t, r, in.Service).untilIDs(t, in.ID).Instances[0]; len(got.Tags) != 0 {
		t.Errorf("a refused update was announced: %+v", got)
	}
}
