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
)

// TestAReplyThatThereIsNoRoomForIsRefusedInItsPlace has a server reply with more than its InFlightBytes, and expects
// the caller to learn why there is no reply and later calls to succeed.
func TestAReplyThatThereIsNoRoomForIsRefusedInItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		srv := mesh.Node(link.Config{Service: "orders", Limits: link.Limits{InFlightBytes: 1 << 20, MaxMessage: 4 << 20}})
		link.HostOf(srv).HandleCall(bulkMethod.Route(), link.CallHandler{
			New: func() any { return new(string) },
			Serve: func(_ context.Context, request any) (any, error) {
				text, _ := request.(*string)
				if *text == "large" {
					return new(strings.Repeat("r", 3<<20)), nil
				}
				return text, nil
			},
		})
		mesh.Start(srv)
		client := mesh.Node(link.Config{})
		for range 3 {
			var got string
			err := link.HostOf(client).Call(t.Context(), bulkMethod.Route(), new("large"), &got)
			if !errors.Is(err, link.ResourceExhausted) || !strings.Contains(err.Error(), "reply not sent") || !strings.Contains(err.Error(), "InFlightBytes") {
				t.Errorf("a reply that there is no room for: %v, want resource exhausted that says why", err)
			}
			if err := link.HostOf(client).Call(t.Context(), bulkMethod.Route(), new("small"), &got); err != nil || got != "small" {
				t.Errorf("the next call: %q, %v", got, err)
			}
		}
	})
}
