package router

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/topology"
)

// TestAsManyDocumentsWaitAsThereIsRoomFor writes documents that all make a cycle with one that is in force.
func TestAsManyDocumentsWaitAsThereIsRoomFor(t *testing.T) {
	var log strings.Builder
	p := &newRouter(t, Config{Topology: Documents{AllowRedirect: []string{"hub"}}, Logger: slog.New(slog.NewTextHandler(&log, nil))}).policy
	to := func(from, to string, trusted bool) *policy.Layer {
		services := map[string]topology.Service{from: {Routes: []topology.Route{{To: topology.Split{"service:" + to: 100}}}}}
		return &policy.Layer{Origin: from, Document: &topology.Document{Services: services}, Trusted: trusted}
	}
	p.replace("own", to("hub", "s0", true), nil)
	p.replace("s0", to("s0", "hub", false), nil)
	if _, waits := p.waiting["s0"]; !waits {
		t.Fatalf("a circle is in force: %v", p.layers)
	}
	for i := 1; i <= maxWaiting; i++ {
		layer := to(fmt.Sprint("s", i), "hub", false)
		layer.Document.Services["s0"] = to("s0", "hub", false).Document.Services["s0"]
		p.replace(fmt.Sprint("s", i), layer, nil)
	}
	if n := len(p.waiting); n != maxWaiting || strings.Count(log.String(), "is dropped until it is written again") != 1 {
		t.Errorf("%d documents wait, want %d, and one line about the one for which there is no room", n, maxWaiting)
	}
	p.replace("own", nil, nil)
	if len(p.waiting) != 0 || len(p.layers) != maxWaiting || len(p.problems) != 1 {
		t.Errorf("%d documents wait, %d are in force and %d are not, want 0, %d and 1", len(p.waiting), len(p.layers), len(p.problems), maxWaiting)
	}
}
