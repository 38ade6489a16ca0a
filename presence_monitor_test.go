package link_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/presence"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// errDown is the error of a failing probe.
var errDown = errors.New("database is gone")

// tagsOf returns the tags of the only instance of orders, as a client sees them.
func tagsOf(t *testing.T, client *link.Node) []string {
	t.Helper()
	all, err := client.Instances(t.Context(), "orders")
	if err != nil || len(all) != 1 {
		t.Fatalf("instances %v, %v; want one", all, err)
	}
	return all[0].Tags
}

func TestATagFollowsItsProbeAndTheInstanceStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var down atomic.Bool
		down.Store(true)
		log := &logBuffer{}
		orders(mesh, link.Config{Tags: []string{"v2"}, Logger: log.logger(), Monitors: map[string]func(context.Context) error{
			"db": func(context.Context) error {
				if down.Load() {
					return errDown
				}
				return nil
			},
		}}, keep)
		client := mesh.Node(link.Config{})
		if got := tagsOf(t, client); !slices.Equal(got, []string{"v2"}) {
			t.Errorf("announced with %v while the probe fails", got)
		}
		down.Store(false)
		sleep(presence.ProbeAgree*presence.ProbeInterval + presence.ProbeInterval/2)
		if got := tagsOf(t, client); !slices.Equal(got, []string{"db", "v2"}) {
			t.Errorf("tags %v after the probe succeeded", got)
		}
		down.Store(true)
		sleep(presence.ProbeAgree*presence.ProbeInterval + presence.ProbeInterval/2)
		if got := tagsOf(t, client); !slices.Equal(got, []string{"v2"}) {
			t.Errorf("tags %v after the probe failed", got)
		}
		if text := log.String(); strings.Count(text, "tag withdrawn") != 2 || strings.Count(text, "tag announced") != 1 || !strings.Contains(text, errDown.Error()) {
			t.Errorf("log:\n%s", text)
		}
	})
}

func TestOneHiccupOfAProbeMovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var runs atomic.Int32
		orders(mesh, link.Config{Monitors: map[string]func(context.Context) error{
			"db": func(context.Context) error {
				if runs.Add(1)%3 == 0 {
					return errDown
				}
				return nil
			},
		}}, keep)
		client := mesh.Node(link.Config{})
		for range 20 {
			if got := tagsOf(t, client); !slices.Equal(got, []string{"db"}) {
				t.Fatalf("tags %v after %d runs, every third of which fails", got, runs.Load())
			}
			sleep(presence.ProbeInterval)
		}
	})
}

func TestAProbeThatHangsOrPanicsHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		log := &logBuffer{}
		start := time.Now()
		orders(mesh, link.Config{Logger: log.logger(), Monitors: map[string]func(context.Context) error{
			"hangs":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			"panics": func(context.Context) error { panic("no database") }, //nolint:forbidigo // what is tested
			"fine":   func(context.Context) error { return nil },
		}}, keep)
		if took := time.Since(start); took > presence.ProbeTimeout+time.Second {
			t.Errorf("announced after %v", took)
		}
		if got := tagsOf(t, mesh.Node(link.Config{})); !slices.Equal(got, []string{"fine"}) {
			t.Errorf("tags %v", got)
		}
		if text := log.String(); !strings.Contains(text, "panicked: no database") {
			t.Errorf("log:\n%s", text)
		}
	})
}

// TestAProbeThatHangsDeafToItsContextLosesItsTag checks that a probe that hangs and ignores
// its context loses its tag, and gets it back when it succeeds again.
func TestAProbeThatHangsDeafToItsContextLosesItsTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		log := &logBuffer{}
		var hang atomic.Bool
		release := make(chan struct{})
		srv := mesh.Node(link.Config{Service: "orders", Logger: log.logger(), Monitors: map[string]func(context.Context) error{
			"db": func(context.Context) error {
				if hang.Load() {
					<-release
				}
				return nil
			},
		}})
		reqrep.Handle(srv, putOrder, keep)
		mesh.Start(srv)
		client := mesh.Node(link.Config{})
		if got := tagsOf(t, client); !slices.Equal(got, []string{"db"}) {
			t.Fatalf("tags %v", got)
		}
		hang.Store(true)
		sleep((presence.ProbeAgree + 2) * presence.ProbeInterval)
		if got := tagsOf(t, client); len(got) > 0 {
			t.Errorf("tags %v while the probe hangs", got)
		}
		if !strings.Contains(log.String(), "ignores that its context ended") {
			t.Errorf("log:\n%s", log)
		}
		sleep(time.Minute)
		hang.Store(false)
		close(release)
		sleep((presence.ProbeAgree + 2) * presence.ProbeInterval)
		if got := tagsOf(t, client); !slices.Equal(got, []string{"db"}) {
			t.Errorf("tags %v after it", got)
		}
	})
}

func TestAProbeThatIgnoresItsContextIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		log, release := &logBuffer{}, make(chan struct{})
		srv := orders(mesh, link.Config{Logger: log.logger(), Monitors: map[string]func(context.Context) error{
			"stuck": func(context.Context) error { <-release; return nil },
		}}, keep)
		start := time.Now()
		mesh.Stop(srv)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("stopped after %v", took)
		}
		if !strings.Contains(log.String(), "was left behind") {
			t.Errorf("log:\n%s", log)
		}
		close(release)
	})
}

// TestMonitorsAreChecked checks that New names wrong fields of its Config.
func TestMonitorsAreChecked(t *testing.T) {
	fine := func(context.Context) error { return nil }
	for name, c := range map[string]struct {
		cfg  link.Config
		says string
	}{
		"no probe":          {link.Config{Monitors: map[string]func(context.Context) error{"db": nil}}, `Config.Monitors["db"] is nil`},
		"a tag twice":       {link.Config{Tags: []string{"db"}, Monitors: map[string]func(context.Context) error{"db": fine}}, `the tag "db"`},
		"no tag":            {link.Config{Monitors: map[string]func(context.Context) error{"a b": fine}}, `"a b"`},
		"a weight":          {link.Config{Weight: -1}, `Weight "-1"`},
		"a key of meta":     {link.Config{Meta: map[string]string{"a.b": "c"}}, `"a.b"`},
		"a network of none": {link.Config{Routing: link.Routing{AllowNets: make([]prefix, 1)}}, "Config.Routing.AllowNets[0]"},
	} {
		if _, err := link.New(c.cfg); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
