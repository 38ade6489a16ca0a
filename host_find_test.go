package link_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/linktest"
)

func followTag(ctx context.Context, t *testing.T, n *link.Node, tag string) <-chan []string {
	t.Helper()
	ch, err := link.HostOf(n).FollowTag(ctx, tag)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// found fails the test unless ch holds a new list that equals want.
func found(t *testing.T, ch <-chan []string, want ...string) {
	t.Helper()
	sleep(time.Second)
	select {
	case got, ok := <-ch:
		if !ok || !slices.Equal(got, want) {
			t.Errorf("found %q (open: %t), want %q", got, ok, want)
		}
	default:
		t.Errorf("nothing new, want %q", want)
	}
}

func TestServicesAreFoundByTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		ch := followTag(ctx, t, client, placedTag)
		found(t, ch)

		shop := mesh.Node(link.Config{Service: "shop", Tags: []string{placedTag}})
		mesh.Start(shop)
		desk := mesh.Node(link.Config{Service: "desk"})
		mesh.Start(desk)
		other := mesh.Node(link.Config{Service: "other", Namespace: "elsewhere", Tags: []string{placedTag}})
		mesh.Start(other)
		found(t, ch, "shop")
		addTag(t, desk, placedTag)
		found(t, ch, "desk", "shop")
		found(t, followTag(ctx, t, other, placedTag), "other")
		found(t, followTag(ctx, t, desk, placedTag), "desk", "shop")

		twin := mesh.Node(link.Config{Service: "desk"})
		addTag(t, twin, placedTag)
		mesh.Start(twin)
		link.HostOf(desk).RemoveTag(placedTag)
		sleep(time.Second)
		if len(ch) != 0 {
			t.Errorf("told %q though another instance has the tag", <-ch)
		}
		mesh.Stop(shop)
		mesh.Kill(twin)
		found(t, ch)
		cancel()
		sleep(time.Second)
		if list, open := <-ch; open {
			t.Errorf("after the end of the context: %q", list)
		}
	})
}

func TestOnlyTheNewestListOfATagIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ch := followTag(t.Context(), t, mesh.Node(link.Config{}), placedTag)
		var want []string
		for i := range 5 {
			name := "n" + strconv.Itoa(i)
			mesh.Start(mesh.Node(link.Config{Service: name, Tags: []string{placedTag}}))
			want = append(want, name)
			sleep(time.Second)
		}
		found(t, ch, want...)
		if len(ch) != 0 || cap(ch) != 1 {
			t.Errorf("%d of %d lists are left", len(ch), cap(ch))
		}
	})
}

func TestFollowTagEndsWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{})
		ch := followTag(t.Context(), t, client, placedTag)
		found(t, ch)
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if list, open := <-ch; open {
			t.Errorf("after Close: %q", list)
		}
		if _, err := link.HostOf(client).FollowTag(t.Context(), placedTag); !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("on a closed node: %v", err)
		}
	})
}

// TestAListOutlivesItsRegistry closes the registry before the node, and expects no
// new list.
func TestAListOutlivesItsRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, err := static.New(discovery.Instance{Service: "shop", Addr: "192.0.2.1:7443", Tags: []string{placedTag}})
		if err != nil {
			t.Fatal(err)
		}
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{Registry: reg})
		ch := followTag(t.Context(), t, client, placedTag)
		found(t, ch, "shop")
		if err := reg.Close(); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		select {
		case list, open := <-ch:
			t.Errorf("after the registry closed: %q (open: %t)", list, open)
		default:
		}
		if _, err := link.HostOf(client).FollowTag(t.Context(), placedTag); !errors.Is(err, link.Unavailable) || !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("in a closed registry: %v", err)
		}
	})
}

// blindRegistry is not a discovery.Finder.
type blindRegistry struct{ discovery.Registry }

// fullRegistry has no room for another watch.
type fullRegistry struct{ *static.Registry }

func (fullRegistry) Find(context.Context, discovery.TagQuery) (<-chan []string, error) {
	return nil, discovery.ErrLimit
}

func TestFollowTagSaysWhatIsWrong(t *testing.T) {
	mesh := linktest.NewMesh(t)
	client := mesh.Node(link.Config{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		node *link.Node
		ctx  context.Context //nolint:containedctx // each case has its own
		tag  string
		code link.Code
		says string
	}{
		"no tag":        {client, t.Context(), "", link.InvalidArgument, `Tag ""`},
		"a space":       {client, t.Context(), "a b", link.InvalidArgument, "must not contain spaces"},
		"no finder":     {mesh.Node(link.Config{Registry: blindRegistry{mesh.Registry()}}), t.Context(), placedTag, link.Unimplemented, "it is not a discovery.Finder; use one that is"},
		"too many":      {mesh.Node(link.Config{Registry: fullRegistry{mesh.Registry()}}), t.Context(), placedTag, link.ResourceExhausted, placedTag},
		"ended context": {client, ended, placedTag, link.Canceled, ""},
	} {
		if _, err := link.HostOf(c.node).FollowTag(c.ctx, c.tag); !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "follow tag") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
