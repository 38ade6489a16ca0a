package pubsub_test

import (
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestPublishAllocatesNothing checks that Publish makes no allocations per message, besides the
// room in the log, which is allocated for hundreds of messages at a time.
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
		// Under the race detector, a sync.Pool drops items at random.
		if got > 0 && !race.Enabled {
			t.Errorf("%s: %v allocations per message, want 0", test.name, got)
		}
	}
}
