package link_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
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

func mustSay(t *testing.T, err error, code link.Code, texts ...string) {
	t.Helper()
	if link.CodeOf(err) != code {
		t.Errorf("%v, want %v", err, code)
	}
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v\ndoes not say %q", err, text)
		}
	}
}

func TestErrorsProposeTheNameThatWasMeant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := ordersAt(mesh)
		link.HostOf(node).Handle(link.Route{Service: "orders", Kind: link.KindChannel, Name: "chats"}, func(context.Context, *link.Stream) error { return nil })
		client := mesh.Node(link.Config{})
		call := func(service, method string) error {
			_, err := reqrep.Call(t.Context(), client, reqrep.NewMethod[order, order](service, method, link.ReadOnly), order{})
			return err
		}
		mustSay(t, call("ordrs", "get"), link.Unavailable, `no instance of service "ordrs"`, `the nearest name there is "orders"`)
		mustSay(t, call("orders", "gett"), link.Unimplemented, `the nearest name there is "get"`)
		if err := call("warehouse", "get"); strings.Contains(err.Error(), "nearest") {
			t.Errorf("a name like no other: %v", err)
		}
		st, err := link.HostOf(client).Open(t.Context(), link.Route{Service: "orders", Kind: link.KindChannel, Name: "chat"})
		if err == nil {
			_, err = st.Recv()
		}
		mustSay(t, err, link.Unimplemented, `the nearest name there is "chats"`)
	})
}

func TestUnservedSaysWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "v1")
		client := mesh.Node(link.Config{})
		of := func(service, name string) link.Route {
			return link.Route{Service: service, Kind: link.KindMethod, Name: name}
		}
		// The first time, the registry has not answered yet.
		for range 2 {
			_ = link.HostOf(client).Unserved(of("ordrs", "get"))
			_ = link.HostOf(client).Unserved(of("orders", "get"))
			sleep(time.Second)
		}
		mustSay(t, link.HostOf(client).Unserved(of("ordrs", "get")), link.Unavailable, "nobody serves method get of service ordrs: ", `the nearest name there is "orders"`)
		mustSay(t, link.HostOf(client).Unserved(of("orders", "get")), link.Unavailable, "none of the 1 instances", "is connected")
		if _, err := ask(t, client); err != nil {
			t.Fatal(err)
		}
		if err := link.HostOf(client).Unserved(of("orders", "get")); err != nil {
			t.Errorf("a route that is served: %v", err)
		}
		mustSay(t, link.HostOf(client).Unserved(of("orders", "gett")), link.Unimplemented, "none of the 1 connected instances in", "has it", `the nearest name there is "get"`)
		mustSay(t, link.HostOf(client).Unserved(of("orders", "get"), link.OnTags("v2")), link.Unavailable, "matches this call, which is for tags v2")
		mustSay(t, link.HostOf(client).Unserved(of("or ders", "get")), link.InvalidArgument, "or ders")
	})
}

// slowLister is a registry that counts how often it is asked for names, and answers after a delay.
type slowLister struct {
	discovery.Registry

	lister discovery.Lister
	late   time.Duration
	asked  atomic.Int32
}

func (c *slowLister) Services(ctx context.Context, namespace string) ([]string, error) {
	c.asked.Add(1)
	select {
	case <-time.After(c.late):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return c.lister.Services(ctx, namespace)
}

// TestNamesAreAskedForSeldom checks that a registry that is slow to list services delays an
// error only briefly, and that it is asked once for a thousand calls that fail.
func TestNamesAreAskedForSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh)
		registry := &slowLister{Registry: mesh.Registry(), lister: mesh.Registry(), late: time.Second}
		client := mesh.Node(link.Config{Registry: registry})
		wrong := reqrep.NewMethod[order, order]("ordrs", "get", link.ReadOnly)
		began := time.Now()
		_, err := reqrep.Call(t.Context(), client, wrong, order{})
		if took := time.Since(began); !errors.Is(err, link.Unavailable) || took > 100*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
		sleep(time.Second)
		for range 1000 {
			_, err = reqrep.Call(t.Context(), client, wrong, order{})
			mustSay(t, err, link.Unavailable, `the nearest name there is "orders"`)
		}
		if n := registry.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// bytesFor calls f n times and returns the bytes that the whole process allocated per call.
func bytesFor(n int, f func(i int)) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range n {
		f(i)
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / uint64(n)
}

// TestATagThatNobodyHasIsProposedFor checks that an error names the nearest tag that an instance has.
func TestATagThatNobodyHasIsProposedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		orders(mesh, link.Config{Tags: []string{"canary", "eu"}}, keep)
		client := mesh.Node(link.Config{})
		for tags, want := range map[[2]string]string{
			{"canray"}:           `which is for tags canray; the nearest name there is "canary"; Node.Explain`,
			{"eu", "canary-2x"}:  `which is for tags eu canary-2x; the nearest name there is "canary"; Node.Explain`,
			{"like-no-other-at"}: "which is for tags like-no-other-at; Node.Explain",
		} {
			asked := slices.DeleteFunc(tags[:], func(tag string) bool { return tag == "" })
			if err := put(t.Context(), client, link.OnTags(asked...)); !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", asked, err, want)
			}
		}
	})
}

// TestACallThatWaitsForLongIsSaidOnce checks that calls that wait are logged once until an instance appears.
func TestACallThatWaitsForLongIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		orders(mesh, link.Config{}, keep)
		log := &logBuffer{}
		client := mesh.Node(link.Config{Logger: log.logger()})
		misspelled := reqrep.NewMethod[order, order]("ordesr", "put", link.Unsafe)
		wait := func(d time.Duration) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			if _, err := reqrep.Call(ctx, client, misspelled, order{}, link.WaitForReady()); !errors.Is(err, link.DeadlineExceeded) {
				t.Error(err)
			}
		}
		said := func() int { return strings.Count(log.String(), "calls wait for an instance") }
		if wait(4 * time.Second); said() != 0 {
			t.Errorf("said after 4 s:\n%s", log)
		}
		for range 2 {
			if wait(20 * time.Second); said() != 1 || !strings.Contains(log.String(), `the nearest name there is \"orders\"`) {
				t.Errorf("said %d times, want once with the nearest name:\n%s", said(), log)
			}
		}
		srv := mesh.Node(link.Config{Service: "ordesr"})
		mesh.Start(srv)
		sleep(time.Second)
		mesh.Stop(srv)
		if wait(20 * time.Second); said() != 2 {
			t.Errorf("said %d times, want again when the instance that came has gone:\n%s", said(), log)
		}
	})
}

// TestAServiceThatIsLikeNoOtherIsToldWhatThereIs checks that the error lists all services if there are at most three.
func TestAServiceThatIsLikeNoOtherIsToldWhatThereIs(t *testing.T) {
	for n, want := range map[int]string{0: "; is it running", 1: `; all that is there is "shop-0"; is it`, 3: `; all that is there is "shop-0", "shop-1", "shop-2"; is it`, 4: "; is it running"} {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			for i := range n {
				in := discovery.Instance{ID: fmt.Sprint("i", i), Service: fmt.Sprint("shop-", i), Addr: "10.1.0.1:7443"}
				if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
					t.Fatal(err)
				}
			}
			err := put(t.Context(), mesh.Node(link.Config{}))
			if !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), fmt.Sprintf("(0 listed, %d registered)%s", n, want)) {
				t.Errorf("%d services: %v, want %q", n, err, want)
			}
		})
	}
}
