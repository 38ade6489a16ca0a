package link_test

import (
	"context"
	"errors"
	"fmt"
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

// watchCount is a registry that counts the services it is asked to watch.
type watchCount struct {
	discovery.Registry

	watched atomic.Int64
}

func (c *watchCount) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	ch, err := c.Registry.Watch(ctx, q)
	if err == nil {
		c.watched.Add(1)
		context.AfterFunc(ctx, func() { c.watched.Add(-1) })
	}
	return ch, err
}

// askFor calls the service with the given name.
func askFor(ctx context.Context, client *link.Node, service string) error {
	_, err := reqrep.Call(ctx, client, reqrep.NewMethod[order, order](service, "get", link.ReadOnly), order{})
	return err
}

// TestANodeThatCallsWhateverNamesItIsTold calls more services than a node keeps, and expects
// the least recently used ones to be forgotten and to work again when they are called. A
// service that is in use or followed stays.
func TestANodeThatCallsWhateverNamesItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keeps, names = 4096, 5000
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "used")
		serveCopies(mesh, "books", link.Config{}, keep)
		log := &logBuffer{}
		registry := &watchCount{Registry: mesh.Registry()}
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		if err := askFor(t.Context(), client, "books"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		followed, err := link.HostOf(client).Follow(ctx, link.Route{Service: "followed", Name: "get"})
		if err != nil {
			t.Fatal(err)
		}
		<-followed
		for i := range names {
			if err := askFor(t.Context(), client, fmt.Sprint("nobody-", i)); !errors.Is(err, link.Unavailable) {
				t.Fatalf("name %d: %v, want unavailable", i, err)
			}
			if i%1000 == 0 {
				if _, err := ask(t, client); err != nil {
					t.Fatalf("after %d names, the service that is in use: %v", i, err)
				}
			}
		}
		synctest.Wait()
		status := client.Status()
		if got := len(status.Services); got != keeps {
			t.Errorf("it keeps %d services, want %d", got, keeps)
		}
		if got := registry.watched.Load(); got != keeps {
			t.Errorf("it watches %d services, want %d", got, keeps)
		}
		// The other 3 are orders, books and followed.
		if want := uint64(names + 3 - keeps); status.Forgotten != want {
			t.Errorf("it has forgotten %d services, want %d", status.Forgotten, want)
		}
		kept := make(map[string]bool)
		for _, s := range status.Services {
			kept[s.Service] = true
		}
		if kept["books"] || kept["nobody-0"] || !kept["orders"] || !kept["followed"] || !kept["nobody-4999"] {
			t.Errorf("books %v, nobody-0 %v; want neither. orders %v, followed %v, nobody-4999 %v; want all",
				kept["books"], kept["nobody-0"], kept["orders"], kept["followed"], kept["nobody-4999"])
		}
		if err := askFor(t.Context(), client, "books"); err != nil {
			t.Errorf("a service that was forgotten: %v", err)
		}
		serveCopies(mesh, "followed", link.Config{}, keep)
		if got := <-followed; len(got) != 1 {
			t.Errorf("the service that is followed has %v, want one instance", got)
		}
		cancel()
		for range followed { // until it is closed
		}
		if log := log.String(); strings.Count(log, "are forgotten") != 1 {
			t.Errorf("the log does not say once that services are forgotten:\n%s", log)
		}
	})
}

// TestACallThatWaitsKeepsItsService calls many other names while a call waits for an instance of its service.
func TestACallThatWaitsKeepsItsService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names = 4200
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: time.Hour}})
		done := make(chan error, 1)
		go func() {
			_, err := reqrep.Call(t.Context(), client, readOrder, order{}, link.WaitForReady())
			done <- err
		}()
		synctest.Wait()
		for i := range names {
			if err := askFor(t.Context(), client, fmt.Sprint("nobody-", i)); !errors.Is(err, link.Unavailable) {
				t.Fatalf("name %d: %v, want unavailable", i, err)
			}
		}
		ordersAt(mesh, "late")
		if err := <-done; err != nil {
			t.Errorf("the call that waited: %v", err)
		}
	})
}

// TestAForgottenServiceTakesItsTopologyWithIt checks that a document of the registry is
// in force only as long as its service is known.
func TestAForgottenServiceTakesItsTopologyWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names = 4200
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "b")
		registry := &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument, 1)}
		registry.policy <- kv("version: link/v1\nservices: { orders: { subsets: { a: { tags: [a] } }, routes: [{ to: a }] } }\n")
		client := mesh.Node(link.Config{Registry: registry})
		if _, err := ask(t, client); !errors.Is(err, link.Unavailable) {
			t.Fatalf("a call that the topology sends nowhere: %v", err)
		}
		if got := len(client.Status().Topology); got != 1 {
			t.Fatalf("%d documents, want 1", got)
		}
		for i := range names {
			if err := askFor(t.Context(), client, fmt.Sprint("nobody-", i)); !errors.Is(err, link.Unavailable) {
				t.Fatalf("name %d: %v, want unavailable", i, err)
			}
		}
		synctest.Wait()
		if got := client.Status().Topology; len(got) != 0 {
			t.Errorf("documents of services that are forgotten: %+v", got)
		}
	})
}

// TestANewServiceCostsTheSameHoweverManyThereAre checks that a new service does not copy all known ones.
func TestANewServiceCostsTheSameHoweverManyThereAre(t *testing.T) {
	const keeps, more, most = 4096, 500, 64 << 10
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{})
		call := func(i int) {
			if err := askFor(t.Context(), client, fmt.Sprint("nobody-", i)); !errors.Is(err, link.Unavailable) {
				t.Fatalf("name %d: %v, want unavailable", i, err)
			}
		}
		for i := range keeps {
			call(i)
		}
		if got := bytesFor(more, func(i int) { call(keeps + i) }); got > most {
			t.Errorf("a new name takes %d bytes of memory beside %d others, want at most %d", got, keeps, most)
		}
	})
}

// TestNamesThatNobodyServesAreNotWatchedForEver checks that a node stops watching made-up names after a while. A service
// stays if it is in use, followed or waited for, if it has instances, or if it is a failover of another service.
func TestNamesThatNobodyServesAreNotWatchedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names = 500
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		registry := &watchCount{Registry: mesh.Registry()}
		log := &logBuffer{}
		client := mesh.Node(link.Config{
			Registry: registry, Logger: log.logger(),
			Routing: link.Routing{Topology: parse(t, "version: link/v1\nservices: { orders: { failover: [any, service:orders-dr] } }\n")},
		})
		if _, err := ask(t, client); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		followed, err := link.HostOf(client).Follow(ctx, link.Route{Service: "followed", Name: "get"})
		if err != nil {
			t.Fatal(err)
		}
		<-followed
		waiting := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			_, err := reqrep.Call(ctx, client, reqrep.NewMethod[order, order]("awaited", "get", link.ReadOnly), order{}, link.WaitForReady())
			waiting <- err
		}()
		for i := range names {
			if err := askFor(t.Context(), client, fmt.Sprint("nobody-", i)); !errors.Is(err, link.Unavailable) {
				t.Fatalf("name %d: %v, want unavailable", i, err)
			}
		}
		for range 12 {
			sleep(10 * time.Second)
			if err := askFor(t.Context(), client, "asked-for"); !errors.Is(err, link.Unavailable) {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		status := client.Status()
		var kept []string
		for _, s := range status.Services {
			kept = append(kept, s.Service)
		}
		if want := []string{"asked-for", "awaited", "followed", "orders", "orders-dr"}; !slices.Equal(kept, want) {
			t.Errorf("after two minutes it keeps %d services, %q and so on, want %q", len(kept), kept[:min(len(kept), 10)], want)
		}
		if got := registry.watched.Load(); got != int64(len(kept)) {
			t.Errorf("it watches %d services, want %d", got, len(kept))
		}
		if status.Forgotten != names {
			t.Errorf("it has forgotten %d services, want %d", status.Forgotten, names)
		}
		serveCopies(mesh, "nobody-7", link.Config{}, keep)
		if err := askFor(t.Context(), client, "nobody-7"); err != nil {
			t.Errorf("a service that was forgotten, and is there now: %v", err)
		}
		serveCopies(mesh, "awaited", link.Config{}, keep)
		if err := <-waiting; err != nil {
			t.Errorf("the call that waited: %v", err)
		}
		if strings.Contains(log.String(), "are forgotten") {
			t.Errorf("the log says that there are too many services:\n%s", log.String())
		}
	})
}
