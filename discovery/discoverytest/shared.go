package discoverytest

import (
	"io"
	"testing"

	"github.com/linkmesh/link/discovery"
)

func sharedSeen(t *testing.T, k *kit) {
	a, b := k.pair(t)
	ina := instance(newName("orders"))
	inb := instance(ina.Service)
	wa, wb := k.watchService(t, a, ina.Service), k.watchService(t, b, ina.Service)
	wa.untilIDs(t)
	wb.untilIDs(t)
	ga := register(t, a, ina)
	register(t, b, inb)
	wa.untilIDs(t, ina.ID, inb.ID)
	wb.untilIDs(t, ina.ID, inb.ID)
	closeNow(t, ga)
	wb.untilIDs(t, inb.ID)
	wa.untilIDs(t, inb.ID)
}

func sharedUpdate(t *testing.T, k *kit) {
	a, b := k.pair(t)
	in := instance(newName("orders"))
	g := register(t, a, in)
	w := k.watchService(t, b, in.Service)
	w.untilIDs(t, in.ID)
	for _, tag := range []string{"v2", "v3", "v4"} {
		in.Tags = []string{tag}
		update(t, g, in)
		want := in.Normalized()
		w.until(t, "tag "+tag, func(s discovery.Snapshot) bool {
			if len(s.Instances) != 1 {
				t.Fatalf("the instance blinked during an update: %+v", s.Instances)
			}
			return same(s.Instances[0], want)
		})
	}
}

func sharedLate(t *testing.T, k *kit) {
	a, b := k.pair(t)
	in := instance(newName("orders"))
	in.Tags = []string{"v2"}
	register(t, a, in)
	k.watchService(t, a, in.Service).untilIDs(t, in.ID)
	got := k.watchService(t, b, in.Service).untilIDs(t, in.ID).Instances[0]
	if !same(got, in.Normalized()) {
		t.Errorf("got %+v, want %+v", got, in.Normalized())
	}
}

func sharedDuplicate(t *testing.T, k *kit) {
	a, b := k.pair(t)
	in := instance(newName("orders"))
	g := register(t, a, in)
	again := in
	again.Addr = "192.0.2.99:7443"
	_, err := b.Register(t.Context(), again)
	refused(t, "Register by the other handle", err, discovery.ErrDuplicateID)
	w := k.watchService(t, b, in.Service)
	if got := w.untilIDs(t, in.ID).Instances[0]; got.Addr != in.Addr {
		t.Errorf("a refused duplicate changed the address to %s", got.Addr)
	}
	closeNow(t, g)
	w.untilIDs(t)
	register(t, b, again)
	w.untilIDs(t, again.ID)
}

func sharedClose(t *testing.T, k *kit) {
	a, b := k.pair(t)
	ina := instance(newName("orders"))
	inb := instance(ina.Service)
	ga := register(t, a, ina)
	register(t, b, inb)
	w := k.watchService(t, b, ina.Service)
	w.untilIDs(t, ina.ID, inb.ID)
	if c, ok := a.(io.Closer); ok {
		closeNow(t, c)
	} else {
		closeNow(t, ga)
	}
	w.untilIDs(t, inb.ID)
}
