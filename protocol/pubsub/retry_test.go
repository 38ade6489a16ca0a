package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestAHandlerSaysWhenItsMessageComesAgain returns each verb from a handler, and expects that a
// release is no attempt, that a retry comes after its delay, and that its cause is kept.
func TestAHandlerSaysWhenItsMessageComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		began := time.Now()
		var mu sync.Mutex
		var got []string
		s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, func(_ context.Context, m pubsub.Message[order]) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf("attempt %d after %v", m.Attempt, time.Since(began).Round(time.Second)))
			switch len(got) {
			case 1:
				return pubsub.Release("not here")
			case 2:
				return pubsub.Retry(20*time.Second, errors.New("later"))
			case 3:
				return fmt.Errorf("handling: %w", pubsub.Retry(0, errors.New("now")))
			}
			return errors.New("broken")
		}, pubsub.AtLeastOnce)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		dead := subscribe(t, mesh.Node(link.Config{}), pubsub.DeadLetters(placed))
		publish(t, p, 1, 1)
		m := take(t, dead, 1)[0]
		mu.Lock()
		defer mu.Unlock()
		// After the third failure the backoff is 30 s, after the fourth 2 min.
		want := []string{"attempt 1 after 0s", "attempt 1 after 0s", "attempt 2 after 20s", "attempt 3 after 20s", "attempt 4 after 50s", "attempt 5 after 2m50s"}
		if !slices.Equal(got, want) {
			t.Errorf("handled %q, want %q", got, want)
		}
		var causes []string
		d := m.DeadLetter()
		for _, a := range d.History {
			causes = append(causes, a.Cause)
		}
		if want := []string{"later", "now", "broken", "broken", "broken"}; d.Attempts != 5 || d.Cause != "broken" || !slices.Equal(causes, want) {
			t.Errorf("the dead letter is %+v, want causes %q", d, want)
		}
	})
}
