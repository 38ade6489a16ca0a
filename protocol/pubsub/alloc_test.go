package pubsub_test

import (
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestPublishAllocatesNothing counts what a message costs beside the room it takes in
// the log, which is made for hundreds of messages at a time.
func TestPublishAllocatesNothing(t *testing.T) {
	mesh := linktest.NewMesh(t)
	_, p := publisher(t, mesh, link.Config{})
	ctx := t.Context()
	for _, test := range []struct {
		name string
		opts []pubsub.PublishOption
	}{
		{"plain", nil},
		{"with a key and a header", []pubsub.PublishOption{pubsub.Key("customer"), pubsub.Header("name", "value")}},
	} {
		got := testing.AllocsPerRun(10_000, func() {
			if _, err := p.Publish(ctx, order{ID: "o-1", Cents: 1200}, test.opts...); err != nil {
				t.Fatal(err)
			}
		})
		if got > 0 && !race.Enabled { // with which a sync.Pool forgets at random
			t.Errorf("%s: %v allocations per message, want 0", test.name, got)
		}
	}
}
