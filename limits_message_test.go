//go:build !race

package link_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// The tests of this file do not run under the race detector: messages of many MiB cost ten times as much
// there, and smaller ones show the same goroutines at work in other tests.

// TestMaxMessageOfAHandlerHoldsForBothSides raises the limit of one route at the server alone.
func TestMaxMessageOfAHandlerHoldsForBothSides(t *testing.T) {
	// large is beyond the default limit.
	const large = 6 << 20
	small := reqrep.NewMethod[string, string]("orders", "small", link.Unsafe)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		srv := mesh.Node(link.Config{Service: "orders"})
		reqrep.Handle(srv, bulkMethod, func(_ context.Context, text string) (string, error) { return text, nil }, link.MaxMessage(32<<20))
		reqrep.Handle(srv, small, func(_ context.Context, text string) (string, error) { return strings.Repeat(text, 5<<20), nil })
		mesh.Start(srv)
		for name, opts := range map[string][]link.CallOption{"first call": nil, "second connection": nil} {
			client := mesh.Node(link.Config{})
			// The first call comes before the client knows the routes.
			for range 2 {
				if got, err := reqrep.Call(t.Context(), client, bulkMethod, strings.Repeat("x", large), opts...); err != nil || len(got) != large {
					t.Errorf("%s: got %d bytes, %v", name, len(got), err)
				}
			}
			if _, err := reqrep.Call(t.Context(), client, small, strings.Repeat("x", 5<<20)); !errors.Is(err, link.ResourceExhausted) {
				t.Errorf("%s: a large request of another route: %v, want resource exhausted", name, err)
			}
			if _, err := reqrep.Call(t.Context(), client, small, "x"); !errors.Is(err, link.ResourceExhausted) || !strings.Contains(err.Error(), "this node's Config.Limits.MaxMessage of 4194304 bytes") {
				t.Errorf("%s: a large reply of another route: %v, want resource exhausted", name, err)
			}
		}
		if _, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), bulkMethod, strings.Repeat("x", 33<<20)); !errors.Is(err, link.ResourceExhausted) || !strings.Contains(err.Error(), "33554432") {
			t.Errorf("more than the route takes: %v, want resource exhausted", err)
		}
	})
}

func TestMaxMessageOfACall(t *testing.T) {
	const large = 6 << 20
	for _, tt := range []struct {
		name           string
		server         link.Limits
		opts           []link.CallOption
		request, reply int
		// want is part of the expected error; "" expects success.
		want string
	}{
		{"reply, raised", link.Limits{MaxMessage: 8 << 20}, []link.CallOption{link.MaxMessage(8 << 20)}, 0, large, ""},
		{"reply, not raised", link.Limits{MaxMessage: 8 << 20}, nil, 0, large, "the caller's Config.Limits.MaxMessage of 4194304 bytes"},
		{"request, raised", link.Limits{MaxMessage: 8 << 20}, []link.CallOption{link.MaxMessage(8 << 20)}, large, 0, ""},
		{"request, not raised", link.Limits{MaxMessage: 8 << 20}, nil, large, 0, "this node's Config.Limits.MaxMessage of 4194304 bytes"},
		{"request, raised at the caller alone", link.Limits{}, []link.CallOption{link.MaxMessage(8 << 20)}, large, 0, "Config.Limits.MaxMessage of 4194304 bytes of orders-"},
		{"reply, lowered", link.Limits{}, []link.CallOption{link.MaxMessage(1000)}, 0, 2000, "the MaxMessage of 1000 bytes that the caller gave the call"},
		{"request, lowered", link.Limits{}, []link.CallOption{link.MaxMessage(1000)}, 2000, 0, "the call's MaxMessage of 1000 bytes"},
		{"nothing", link.Limits{}, []link.CallOption{link.MaxMessage(0)}, 0, 0, "MaxMessage is 0, want 1 to 67108864"},
		{"too much", link.Limits{}, []link.CallOption{link.MaxMessage(64<<20 + 1)}, 0, 0, "want 1 to 67108864"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				srv := mesh.Node(link.Config{Service: "orders", Limits: tt.server})
				reqrep.Handle(srv, bulkMethod, func(context.Context, string) (string, error) { return strings.Repeat("r", tt.reply), nil })
				mesh.Start(srv)
				client := mesh.Node(link.Config{})
				for range 2 {
					got, err := reqrep.Call(t.Context(), client, bulkMethod, strings.Repeat("q", tt.request), tt.opts...)
					if tt.want == "" && (err != nil || len(got) != tt.reply) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
						t.Errorf("got %d bytes, %v, want %q", len(got), err, tt.want)
					}
				}
			})
		})
	}
}

// TestMaxMessageOfAStream sends large frames both ways on a route that takes them.
func TestMaxMessageOfAStream(t *testing.T) {
	const large = 6 << 20
	feed := link.Route{Service: "orders", Name: "feed", Kind: link.KindChannel}
	for _, tt := range []struct {
		name    string
		handler []link.HandleOption
		opener  []link.CallOption
		fails   bool
	}{
		{"not raised", nil, nil, true},
		{"by the handler", []link.HandleOption{link.MaxMessage(8 << 20)}, nil, false},
		{"by the handler, lowered by the opener", []link.HandleOption{link.MaxMessage(8 << 20)}, []link.CallOption{link.MaxMessage(1 << 20)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				srv := mesh.Node(link.Config{Service: "orders"})
				link.HostOf(srv).Handle(feed, func(_ context.Context, s *link.Stream) error {
					if err := s.Grant(4, 16<<20); err != nil {
						return err
					}
					f, err := s.Recv()
					if err == nil {
						err = s.Send(link.Frame{Kind: 0x40, Credited: true, Body: make([]byte, large)})
					}
					_ = f
					return err
				}, tt.handler...)
				mesh.Start(srv)
				st, err := link.HostOf(mesh.Node(link.Config{})).Open(t.Context(), feed, append(tt.opener, link.StreamCredit(4, 16<<20))...)
				if err != nil {
					t.Fatal(err)
				}
				size := large
				if len(tt.opener) > 0 {
					size = 100
				}
				err = st.Send(link.Frame{Kind: 0x40, Credited: true, Body: make([]byte, size)})
				var f link.Frame
				if err == nil {
					f, err = st.Recv()
				}
				if failed := err != nil || len(f.Body) != large; failed != tt.fails || tt.fails && !errors.Is(err, link.ResourceExhausted) {
					t.Errorf("got %d bytes, %v; want an error: %v", len(f.Body), err, tt.fails)
				}
				st.Close()
			})
		})
	}
}
