package link_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/bounds"
	"github.com/linkmesh/link/internal/presence"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

const (
	placedTag  = "topic:placed"
	shippedTag = "topic:shipped"
)

func addTag(t *testing.T, n *link.Node, tag string) {
	t.Helper()
	if err := link.HostOf(n).AddTag(tag); err != nil {
		t.Fatal(err)
	}
}

// registeredTags returns the tags of the only instance of orders in the registry,
// from which a client without a connection takes them.
func registeredTags(t *testing.T, mesh *linktest.Mesh) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch, err := mesh.Registry().Watch(ctx, discovery.Query{Service: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	s := <-ch
	if len(s.Instances) != 1 {
		t.Fatalf("registered: %v; want one instance", s.Instances)
	}
	return s.Instances[0].Tags
}

// put calls putOrder.
func put(ctx context.Context, client *link.Node, opts ...link.CallOption) error {
	_, err := reqrep.Call(ctx, client, putOrder, order{}, opts...)
	return err
}

func TestAddedTagsAreAnnouncedBeforeAndWhileTheNodeRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "orders", Tags: []string{"v2"}})
		addTag(t, node, placedTag)
		mesh.Start(node)
		if got := registeredTags(t, mesh); !slices.Equal(got, []string{placedTag, "v2"}) {
			t.Errorf("announced with %v", got)
		}
		addTag(t, node, shippedTag)
		addTag(t, node, shippedTag)
		sleep(time.Second)
		if got := registeredTags(t, mesh); !slices.Equal(got, []string{placedTag, shippedTag, "v2"}) {
			t.Errorf("announced with %v after AddTag", got)
		}
		link.HostOf(node).RemoveTag(placedTag)
		// shippedTag was added twice, and v2 comes from the configuration, so both stay.
		link.HostOf(node).RemoveTag(shippedTag)
		link.HostOf(node).RemoveTag("v2")
		link.HostOf(node).RemoveTag("never added")
		sleep(time.Second)
		if got := registeredTags(t, mesh); !slices.Equal(got, []string{shippedTag, "v2"}) {
			t.Errorf("announced with %v after RemoveTag", got)
		}
		// The second removal is one too many, and does not count.
		link.HostOf(node).RemoveTag(shippedTag)
		link.HostOf(node).RemoveTag(shippedTag)
		addTag(t, node, shippedTag)
		link.HostOf(node).RemoveTag(shippedTag)
		sleep(time.Second)
		if got := registeredTags(t, mesh); !slices.Equal(got, []string{"v2"}) {
			t.Errorf("announced with %v at the end", got)
		}
		if got := node.Status().Tags; !slices.Equal(got, []string{"v2"}) {
			t.Errorf("status %v", got)
		}
	})
}

// TestPeersHearOfAddedTags has a registry that never takes an update, so that the
// client, which does not trust its registry, learns the tag from the node itself.
func TestPeersHearOfAddedTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		log := &logBuffer{}
		node := orders(mesh, link.Config{Registry: hangingRegistry{Registry: mesh.Registry()}, Logger: log.logger()}, keep)
		client := mesh.Node(link.Config{Registry: &shared{Registry: mesh.Registry()}})
		if err := put(t.Context(), client, link.OnTags(placedTag)); !errors.Is(err, link.Unavailable) {
			t.Errorf("a call for the tag before AddTag: %v", err)
		}
		if err := put(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		addTag(t, node, placedTag)
		sleep(time.Second)
		if err := put(t.Context(), client, link.OnTags(placedTag)); err != nil {
			t.Errorf("a call for the tag after AddTag: %v", err)
		}
		link.HostOf(node).RemoveTag(placedTag)
		sleep(3 * time.Second)
		if err := put(t.Context(), client, link.OnTags(placedTag)); !errors.Is(err, link.Unavailable) {
			t.Errorf("a call for the tag after RemoveTag: %v", err)
		}
		sleep(time.Minute)
		if n := strings.Count(log.String(), "did not take the new tags"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, log)
		}
	})
}

func TestATagStaysAsLongAsAnybodyAnnouncesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var down atomic.Bool
		node := orders(mesh, link.Config{Tags: []string{"v2"}, Monitors: map[string]func(context.Context) error{
			"db": func(context.Context) error {
				if down.Load() {
					return errDown
				}
				return nil
			},
		}}, keep)
		addTag(t, node, "db")
		addTag(t, node, "v2")
		down.Store(true)
		sleep(5 * presence.ProbeInterval)
		if got := registeredTags(t, mesh); !slices.Equal(got, []string{"db", "v2"}) {
			t.Errorf("tags %v while the probe fails and the tag is added", got)
		}
		link.HostOf(node).RemoveTag("db")
		link.HostOf(node).RemoveTag("v2")
		sleep(time.Second)
		if got := registeredTags(t, mesh); !slices.Equal(got, []string{"v2"}) {
			t.Errorf("tags %v when it was removed", got)
		}
	})
}

func TestAddTagSaysWhatIsWrong(t *testing.T) {
	mesh := linktest.NewMesh(t)
	var tags []string
	for i := range bounds.MaxTags - 2 {
		tags = append(tags, fmt.Sprintf("n=%d", i))
	}
	node := mesh.Node(link.Config{Service: "orders", Tags: tags, Monitors: map[string]func(context.Context) error{
		"db": func(context.Context) error { return nil },
	}})
	for _, tag := range []string{"", "a b", "a\n", strings.Repeat("t", bounds.MaxTag+1)} {
		err := link.HostOf(node).AddTag(tag)
		if !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "add tag") || !strings.Contains(err.Error(), "Tag \"") {
			t.Errorf("%q: %v", tag, err)
		}
	}
	if err := link.HostOf(node).AddTag("zone=a"); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "Config.Tags") {
		t.Errorf("a place: %v", err)
	}
	addTag(t, node, placedTag)
	addTag(t, node, placedTag)
	addTag(t, node, "db")
	addTag(t, node, tags[0])
	if err := link.HostOf(node).AddTag(shippedTag); !errors.Is(err, link.ResourceExhausted) || !strings.Contains(err.Error(), shippedTag) {
		t.Errorf("the tag beyond the limit: %v", err)
	}
	link.HostOf(node).RemoveTag(placedTag)
	link.HostOf(node).RemoveTag(placedTag)
	addTag(t, node, shippedTag)
	if got := node.Status().Tags; len(got) != bounds.MaxTags || !slices.Contains(got, shippedTag) {
		t.Errorf("%d tags, want %d: %v", len(got), bounds.MaxTags, got)
	}
}

// slowRegistry blocks in Register until release is closed, after it has taken the instance.
type slowRegistry struct {
	*static.Registry

	registered, release chan struct{}
	updates             atomic.Int32
}

func (r *slowRegistry) Register(ctx context.Context, in discovery.Instance) (discovery.Registration, error) {
	g, err := r.Registry.Register(ctx, in)
	close(r.registered)
	<-r.release
	return countingUpdates{g, &r.updates}, err
}

type countingUpdates struct {
	discovery.Registration

	n *atomic.Int32
}

func (c countingUpdates) Update(ctx context.Context, in discovery.Instance) error {
	c.n.Add(1)
	return c.Registration.Update(ctx, in)
}

func TestATagAddedWhileTheRegistryTakesTheNodeIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		reg := &slowRegistry{Registry: mesh.Registry(), registered: make(chan struct{}), release: make(chan struct{})}
		node := mesh.Node(link.Config{Service: "orders", Registry: reg})
		go func() {
			<-reg.registered
			if err := link.HostOf(node).AddTag(placedTag); err != nil {
				t.Error(err)
			}
			sleep(time.Second)
			close(reg.release)
		}()
		mesh.Start(node)
		sleep(time.Second)
		if got := registeredTags(t, mesh); !slices.Equal(got, []string{placedTag}) {
			t.Errorf("tags %v", got)
		}
	})
}

func TestTagsThatComeAndGoKeepNobodyBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		reg := &slowRegistry{Registry: mesh.Registry(), registered: make(chan struct{}), release: make(chan struct{})}
		close(reg.release)
		node := mesh.Node(link.Config{Service: "orders", Registry: reg})
		mesh.Start(node)
		sleep(time.Minute)
		if n := reg.updates.Load(); n != 0 {
			t.Errorf("%d updates though nothing changed", n)
		}
		const changes, every = 1000, time.Millisecond
		for i := range changes {
			if i%2 == 0 {
				addTag(t, node, placedTag)
			} else {
				link.HostOf(node).RemoveTag(placedTag)
			}
			sleep(every)
		}
		if n := reg.updates.Load(); n < 5 || n > 12 {
			t.Errorf("%d updates for %d changes in %v, want about 10", n, changes, changes*every)
		}
		sleep(time.Second)
		if got := registeredTags(t, mesh); len(got) != 0 {
			t.Errorf("tags %v, want the last state", got)
		}
	})
}

func TestConcurrentAddTagAndRemoveTagSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "orders"})
		mesh.Start(node)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 100 {
					if err := link.HostOf(node).AddTag(placedTag); err != nil {
						t.Error(err)
					}
					if err := link.HostOf(node).AddTag(fmt.Sprintf("n=%d", i)); err != nil {
						t.Error(err)
					}
					link.HostOf(node).RemoveTag(placedTag)
				}
			})
		}
		wg.Wait()
		sleep(time.Second)
		if got := registeredTags(t, mesh); len(got) != 8 || slices.Contains(got, placedTag) {
			t.Errorf("tags %v, want n=0 to n=7", got)
		}
	})
}

// TestAnInstanceInTwoZonesIsSaidOnce has the instances registered directly, since a node refuses such tags.
func TestAnInstanceInTwoZonesIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		for i, tags := range [][]string{{"zone=b", "zone=a"}, {"zone=", "zone=b"}} {
			in := discovery.Instance{ID: fmt.Sprintf("orders-%d", i), Service: "orders", Addr: fmt.Sprintf("10.1.0.%d:7443", i+1), Tags: tags}
			if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Tags: []string{"zone=b"}, Logger: log.logger()})
		e, err := client.Explain(t.Context(), putOrder.Route(), link.InZone())
		if err != nil {
			t.Fatal(err)
		}
		for i, near := range []bool{false, true} {
			if said := e.Instances[i].Trouble == ""; said != near {
				t.Errorf("%s is near: %t, want %t", e.Instances[i].ID, said, near)
			}
		}
		if text := log.String(); strings.Count(text, "announces no clear place") != 1 || !strings.Contains(text, "instance=orders-0") || !strings.Contains(text, "zone=a") {
			t.Errorf("want one line on orders-0:\n%s", text)
		}
	})
}
