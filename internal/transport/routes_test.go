package transport

import (
	"fmt"
	"math/bits"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

// announce adds the routes of a frame to the table, as the reader of CONTROL does.
func announce(t *routeTable, first uint64, names ...string) {
	frame := wire.Routes{First: first}
	bytes := 0
	for _, name := range names {
		frame.Routes = append(frame.Routes, wire.RouteInfo{Name: name})
		bytes += len(name) + 3
	}
	if t.room(bytes) {
		t.add(&frame)
	}
}

func TestRouteTable(t *testing.T) {
	var table routeTable
	if _, ok := table.lookup(0, "a"); ok {
		t.Error("an empty table knows a route")
	}
	announce(&table, 0, "a", "b", "a")
	announce(&table, 10, "b", "c")
	for name, want := range map[string]uint64{"a": 0, "b": 1, "c": 11} {
		if r, ok := table.lookup(0, name); !ok || r.ID != want {
			t.Errorf("%s is number %d, %v; want %d, the first it was given", name, r.ID, ok, want)
		}
	}
	if _, ok := table.lookup(1, "a"); ok {
		t.Error("a kind that was not announced is known")
	}
}

// TestRoutesCostWhatTheyHold checks that the work for frames of any size is proportional to the routes in them: an entry
// moves at most as often as the table can double. Once, each frame copied the table.
func TestRoutesCostWhatTheyHold(t *testing.T) { // SEC-123
	for name, each := range map[string]int{"one route a frame": 1, "seven": 7, "as many as fit": wire.MaxRoutes} {
		t.Run(name, func(t *testing.T) {
			var table routeTable
			total := 0
			for i := 0; i < 2*maxPeerRoutes; i += each {
				names := make([]string, each)
				for j := range names {
					names[j] = fmt.Sprint("route-", i+j)
				}
				announce(&table, uint64(i), names...)
				total += each
			}
			if table.held != maxPeerRoutes {
				t.Errorf("%d of %d routes are held, want %d", table.held, total, maxPeerRoutes)
			}
			if most := maxPeerRoutes * (bits.Len(maxPeerRoutes) + 1); table.moved > most {
				t.Errorf("%d entries were written for %d routes, want at most %d", table.moved, table.held, most)
			}
			if parts := len(*table.parts.Load()); parts > bits.Len(maxPeerRoutes)+1 {
				t.Errorf("a lookup goes through %d maps", parts)
			}
			if r, ok := table.lookup(0, "route-0"); !ok || r.ID != 0 {
				t.Errorf("the first route has number %d, %v", r.ID, ok)
			}
			if _, ok := table.lookup(0, fmt.Sprint("route-", maxPeerRoutes)); ok {
				t.Error("a route beyond the limit is held")
			}
		})
	}
}

func TestRoutesAreBoundedInFramesAndBytes(t *testing.T) { // SEC-123
	var table routeTable
	for range 2 * maxRouteFrames {
		announce(&table, 0, "same")
	}
	if table.frames != maxRouteFrames || table.held != 1 {
		t.Errorf("%d frames were looked into, want %d", table.frames, maxRouteFrames)
	}
	table = routeTable{}
	long := strings.Repeat("n", wire.MaxName-8)
	for i := range 2 * maxRouteBytes / (200 * len(long)) {
		names := make([]string, 200)
		for j := range names {
			names[j] = fmt.Sprintf("%s%08d", long, i*200+j)
		}
		announce(&table, uint64(i*200), names...)
	}
	if table.bytes > maxRouteBytes || table.held*wire.MaxName > maxRouteBytes || table.held == 0 {
		t.Errorf("%d routes of %d bytes are held, want at most %d bytes", table.held, table.bytes, maxRouteBytes)
	}
}

// TestRoutesOfClientsAreIgnored checks that a server neither keeps nor parses the routes of a client, which serves
// nothing.
func TestRoutesOfClientsAreIgnored(t *testing.T) { // SEC-122
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("web", server)
		var frames []byte
		for i := range 100 {
			frames = wire.AppendRoutes(frames, &wire.Routes{First: uint64(i), Routes: []wire.RouteInfo{{Name: fmt.Sprint("x-", i)}}})
		}
		r.send(frames)
		// This frame is malformed and would end the connection if it were parsed.
		r.send(frame(wire.KindRoutes, 0, "\xff"))
		r.send(wire.AppendPing(nil, wire.KindPing, 7))
		r.await(wire.KindPong)
		for _, s := range server.acceptedSessions() {
			if s.remote.routes.parts.Load() != nil {
				t.Errorf("%d routes of a client are held", s.remote.routes.held)
			}
		}
		r.mustEcho()
	})
}

// TestAClientAnnouncesNoRoutes checks that a node sends no ROUTES on a connection that it dialed, because it serves
// nothing there.
func TestAClientAnnouncesNoRoutes(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		heard := make(chan []wire.Kind, 1)
		server := w.rawServer("orders", func(r *raw) {
			r.open(append(controlType(), setupFrame()...))
			r.accept()
			r.send(wire.AppendPing(nil, wire.KindPing, 7))
			var kinds []wire.Kind
			for {
				h, _, err := r.frames.next()
				if err != nil || h.Kind == wire.KindPong {
					heard <- kinds
					return
				}
				kinds = append(kinds, h.Kind)
			}
		})
		if _, err := w.node("web", Limits{}).dial(server); err != nil {
			t.Fatal(err)
		}
		for _, kind := range <-heard {
			if kind == wire.KindRoutes {
				t.Error("a client sent ROUTES")
			}
		}
	})
}

// TestAClientThatFloodsControlIsDisconnected has a client flood CONTROL with frames that cost little to write, such as
// ROUTES. A burst as long as an honest client may send does not end the connection.
func TestAClientThatFloodsControlIsDisconnected(t *testing.T) { // SEC-127
	for name, f := range map[string][]byte{
		"ROUTES":  wire.AppendRoutes(nil, &wire.Routes{First: 1, Routes: []wire.RouteInfo{{Name: "x"}}}),
		"unknown": frame(0x9d, 0, ""),
		"PONG":    wire.AppendPing(nil, wire.KindPong, 1),
	} {
		t.Run(name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{})
				honest := w.quiet("web", Limits{}).connect(server)
				r := w.client("mallory", server)
				// SETUP was the first frame of the burst.
				for range controlBurst - 1 - controlRate {
					r.send(f)
				}
				settle()
				r.mustEcho()
				for range 2 * controlRate {
					if _, err := r.control.Write(f); err != nil {
						break
					}
				}
				if code, _ := r.closed(); code != wire.CodeLimit {
					t.Errorf("closed with %v, want LIMIT", code)
				}
				mustEcho(t, honest)
			})
		})
	}
}
