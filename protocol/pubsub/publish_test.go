package pubsub_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// headers returns n headers that have size bytes together.
func headers(n, size int) []pubsub.PublishOption {
	var opts []pubsub.PublishOption
	for i := range n {
		each := size / n
		if i == 0 {
			each += size % n
		}
		opts = append(opts, pubsub.Header("h", strings.Repeat("v", each-1)))
	}
	return opts
}

// TestOptionsOfAMessageHaveBounds publishes with options at their bounds and just beyond, and
// expects that an error names the option and the bound, and that the next message is unharmed.
func TestOptionsOfAMessageHaveBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed)
		key := strings.Repeat("k", 255)
		for name, tt := range map[string]struct {
			most, beyond []pubsub.PublishOption
			want         string
		}{
			"key":      {[]pubsub.PublishOption{pubsub.Key(key)}, []pubsub.PublishOption{pubsub.Key(key + "k")}, "Key has 256 bytes, of at most 255"},
			"priority": {[]pubsub.PublishOption{pubsub.Priority(9)}, []pubsub.PublishOption{pubsub.Priority(10)}, "Priority is 10, want 0 to 9"},
			"headers":  {headers(64, 128), headers(65, 130), "65 headers, of at most 64"},
			"bytes":    {headers(2, 16<<10), headers(2, 16<<10+1), "headers of 16385 bytes, of at most 16384"},
		} {
			_, err := p.Publish(t.Context(), order{ID: name}, tt.beyond...)
			if !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "publish to orders/placed: "+tt.want) {
				t.Errorf("%s beyond its bound: %v, want %q", name, err, tt.want)
			}
			if _, err := p.Publish(t.Context(), order{ID: name}, tt.most...); err != nil {
				t.Errorf("%s at its bound: %v", name, err)
			}
			if m := take(t, s, 1)[0]; m.Value.ID != name {
				t.Errorf("got %+v, want the message with the %s at its bound", m, name)
			}
			publish(t, p, 1, 1)
			if m := take(t, s, 1)[0]; m.Value.ID != "1" || m.Key != "" || m.Priority != 4 || m.Header("h") != "" {
				t.Errorf("after %s, a message without options is %+v", name, m)
			}
		}
	})
}

// TestPrioritiesShareThreeLanes publishes a message of each priority at once, and expects that
// each arrives with its priority, in order within its lane, the high lane first.
func TestPrioritiesShareThreeLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		const most = 9
		for i := range uint8(most + 1) {
			publish(t, p, int(i), int(i), pubsub.Priority(i))
		}
		got := make(map[int][]int64)
		lane := func(priority uint8) int {
			switch {
			case priority >= 7:
				return 2
			case priority >= 3:
				return 1
			}
			return 0
		}
		for i, m := range take(t, subscribe(t, mesh.Node(link.Config{}), placed, pubsub.FromOldest()), most+1) {
			if int64(m.Priority) != m.Value.Cents {
				t.Errorf("a message of priority %d arrives with %d", m.Value.Cents, m.Priority)
			}
			at := lane(m.Priority)
			if i < 3 && at != 2 {
				t.Errorf("message %d to arrive has priority %d, want one of the high lane", i, m.Priority)
			}
			if n := len(got[at]); n > 0 && got[at][n-1] > m.Value.Cents {
				t.Errorf("in one lane, %d comes after %v", m.Value.Cents, got[at])
			}
			got[at] = append(got[at], m.Value.Cents)
		}
		if len(got[0]) != 3 || len(got[1]) != 4 || len(got[2]) != 3 {
			t.Errorf("the lanes have %v", got)
		}
	})
}
