package link_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/presence"
	"github.com/linkmesh/link/linktest"
)

// TestTagsAreConfirmedByTheInstance has a registry list tags that the instance does not have.
func TestTagsAreConfirmedByTheInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "v1")
		log := &logBuffer{}
		debug := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		client := mesh.Node(link.Config{Logger: debug, Registry: &shared{
			Registry: mesh.Registry(),
			change:   func(in *discovery.Instance) { in.Tags = []string{"gold", "v2"} },
		}})
		if who, err := ask(t, client, link.OnTags("gold")); !errors.Is(err, link.Unavailable) {
			t.Errorf("a tag that its registry invented: %v answered, %v", who, err)
		}
		if _, err := ask(t, client, link.OnTags("v1")); err != nil {
			t.Errorf("the instance's own tag: %v", err)
		}
		if n := strings.Count(log.String(), "its own are used"); n != 1 {
			t.Errorf("%d log lines:\n%s", n, log)
		}
	})
}

// TestATagThatComesAndGoes checks that calls follow the tag of a monitor although the registry does not list it.
func TestATagThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var ready atomic.Bool
		serveCopies(mesh, "orders", link.Config{Monitors: map[string]func(context.Context) error{"db": func(context.Context) error {
			if ready.Load() {
				return nil
			}
			return errDown
		}}}, keep)
		client := mesh.Node(link.Config{Registry: &shared{
			Registry: mesh.Registry(),
			change:   func(in *discovery.Instance) { in.Tags = nil },
		}})
		if _, err := ask(t, client); err != nil {
			t.Fatal(err)
		}
		for _, up := range []bool{true, false, true} {
			ready.Store(up)
			sleep(4 * presence.ProbeInterval)
			if _, err := ask(t, client, link.OnTags("db")); (err == nil) != up {
				t.Errorf("the probe succeeds: %t; %v", up, err)
			}
		}
	})
}

// TestRogueRegistrationsCostATryEach registers a hundred instances at the address of another service beside one of orders.
func TestRogueRegistrationsCostATryEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		rogue := serveCopies(mesh, "mallory", link.Config{}, keep)
		honest := ordersAt(mesh, "v1")
		for i := range 100 {
			in := discovery.Instance{ID: fmt.Sprintf("orders-%03d", i), Service: "orders", Addr: rogue.Addr()}
			if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		client := mesh.Node(link.Config{})
		for i := range 200 {
			who, err := ask(t, client)
			if err != nil || who.Instance != honest.Instance() {
				t.Fatalf("call %d: %v answered, %v", i, who, err)
			}
		}
	})
}

// TestSilentRoguesHideNobody registers a hundred addresses where nothing answers beside an honest instance.
func TestSilentRoguesHideNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		honest := ordersAt(mesh, "v1")
		for i := range 100 {
			in := discovery.Instance{ID: fmt.Sprintf("orders-%03d", i), Service: "orders", Addr: fmt.Sprintf("10.9.9.%d:7443", i+1)}
			if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		client := mesh.Node(link.Config{})
		start := time.Now()
		if who, err := ask(t, client); err != nil || who.Instance != honest.Instance() {
			t.Fatalf("the first call: %v answered, %v, after %v", who, err, time.Since(start))
		}
		for i := range 300 {
			start := time.Now()
			who, err := ask(t, client)
			if took := time.Since(start); err != nil || who.Instance != honest.Instance() || took > time.Second {
				t.Fatalf("call %d: %v answered, %v, after %v", i, who, err, took)
			}
			sleep(100 * time.Millisecond)
		}
	})
}

func TestStatusCountsInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "v1")
		dead := ordersAt(mesh, "v2")
		client := mesh.Node(link.Config{})
		warm(t, client)
		s := client.Status()
		if len(s.Services) != 1 || s.Services[0].Service != "orders" || s.Services[0].Instances != 2 || s.Services[0].Serving != 2 ||
			s.Services[0].Connected != 2 || s.Services[0].Source != "static" || s.Services[0].Stale || s.Services[0].At.IsZero() {
			t.Errorf("status %+v", s)
		}
		if s.Serving || s.Instance != client.Instance() || !strings.Contains(s.Registry, "static") {
			t.Errorf("status %+v", s)
		}
		mesh.Kill(dead)
		sleep(10 * time.Second)
		tally(t, client, 50)
		if got := client.Status().Services[0]; got.Connected != 1 {
			t.Errorf("status %+v after one died", got)
		}
	})
}

func TestForgedTagsAtAnHonestAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		honest := ordersAt(mesh, "v1")
		client := mesh.Node(link.Config{Registry: &shared{Registry: mesh.Registry()}})
		warm(t, client)
		in := discovery.Instance{ID: "orders-forged", Service: "orders", Addr: honest.Addr(), Tags: []string{"gold"}}
		if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		if who, err := ask(t, client, link.OnTags("gold")); err == nil {
			t.Errorf("a tag that the registry invented: answered by %v with tags %v", who.Instance, who.Tags)
		}
		if who, err := ask(t, client, link.OnInstance("orders-forged")); err == nil {
			t.Errorf("OnInstance(orders-forged) was answered by %v", who.Instance)
		}
	})
}

func TestABarGoesWithTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		rogue := serveCopies(mesh, "mallory", link.Config{}, keep)
		var wrong atomic.Bool
		wrong.Store(true)
		honest := ordersAt(mesh, "v1")
		registry := &shared{Registry: mesh.Registry(), change: func(in *discovery.Instance) {
			if in.Service == "orders" && wrong.Load() {
				in.Addr = rogue.Addr()
			}
		}}
		client := mesh.Node(link.Config{Registry: registry})
		_, err := ask(t, client)
		t.Logf("with the wrong address: %v", err)
		wrong.Store(false)
		dummy, err := mesh.Registry().Register(t.Context(), discovery.Instance{ID: "orders-zz", Service: "orders", Addr: rogue.Addr(), Status: discovery.Draining})
		if err != nil {
			t.Fatal(err)
		}
		defer dummy.Close()
		sleep(time.Second)
		_ = honest
		if _, err := ask(t, client); err != nil {
			e, _ := client.Explain(t.Context(), link.Route{Service: "orders", Name: "get"})
			t.Errorf("1 s after its address was fixed: %v\n%s", err, e)
		}
	})
}

func TestOddTagsPoisonNobody(t *testing.T) {
	for name, c := range map[string]struct{ odd, later []link.CallOption }{
		"an empty tag": {[]link.CallOption{link.OnTags("")}, nil},
		"a space":      {[]link.CallOption{link.OnTags("v1 zone=z1")}, []link.CallOption{link.OnTags("v1", "zone=z1")}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				ordersAt(mesh, "v1", "zone=z1")
				client := mesh.Node(link.Config{})
				_, err := ask(t, client, c.odd...)
				t.Logf("the odd call: %v", err)
				sleep(time.Minute)
				if _, err := ask(t, client, c.later...); err != nil {
					t.Errorf("a good call a minute later: %v", err)
				}
			})
		})
	}
}
