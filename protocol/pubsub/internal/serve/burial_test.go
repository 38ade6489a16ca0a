package serve

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestDeadLettersPushOutNobodysHistory has one member with many subscriptions give up everything
// that is published. It expects that messages that others have yet to read stay in the log, and
// that there is room for the dead letters of others.
func TestDeadLettersPushOutNobodysHistory(t *testing.T) { // SEC-361
	h := newTestHub(t)
	now := h.began
	log := h.log
	reader, err := log.Subscribe(journal.Subscription{Patterns: []string{"t"}, Class: journal.Reliable}, now)
	if err != nil {
		t.Fatal(err)
	}
	want := func(who string) *journal.Cursor {
		c, err := log.Subscribe(journal.Subscription{Patterns: []string{"t"}, Class: journal.AtLeastOnce, Deliveries: 1, Who: share.Key{Name: who}}, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	giveUp := func(c *journal.Cursor) {
		out, _, _, err := c.Fill(nil, 8<<20, 1024, now)
		if err != nil {
			t.Fatal(err)
		}
		for seq := range journal.Messages(out) {
			if err := c.Nack(now, seq, 0, "no"); err != nil {
				t.Fatal(err)
			}
		}
	}
	var mallory []*journal.Cursor
	for range 16 {
		mallory = append(mallory, want("mallory"))
	}
	published := race.Fewer[uint64](24, 8)
	for range published {
		if _, err := log.Append(journal.Message{Topic: "t", Payload: make([]byte, 1<<20)}, now); err != nil {
			t.Fatal(err)
		}
		for _, c := range mallory {
			giveUp(c)
		}
		h.bury(t.Context())
	}
	var read uint64
	var out []byte
	for more := true; more; {
		var n int
		if out, n, more, err = reader.Fill(out[:0], 8<<20, 1024, now); err != nil {
			break
		}
		read += uint64(n)
	}
	if behind, ok := errors.AsType[*journal.TooFarBehindError](err); ok || read != published {
		t.Errorf("a reader has %d messages of %d, and then: %v", read, published, behind)
	}
	kept, lost := h.dead.kept.Load(), h.dead.lost.Load()+log.Stats().DeadLetters
	if kept == 0 || kept<<20 > journal.DefaultBytes/16 || kept+lost != 16*published {
		t.Errorf("%d dead letters are kept and %d lost of %d, want at most a sixteenth of the log, and all counted", kept, lost, 16*published)
	}
	honest := want("billing")
	if _, err := log.Append(journal.Message{Topic: "t", Payload: make([]byte, 1<<20)}, now); err != nil {
		t.Fatal(err)
	}
	giveUp(honest)
	h.bury(t.Context())
	if got := h.dead.kept.Load(); got != kept+1 {
		t.Errorf("the dead letter of another one is lost")
	}
	// The room of dead letters is given back when they have left the log.
	for i := range 80 {
		if _, err := log.Append(journal.Message{Topic: fmt.Sprint("u", i), Payload: make([]byte, 1<<20)}, now); err != nil {
			t.Fatal(err)
		}
	}
	giveUp(want("billing"))
	if _, err := log.Append(journal.Message{Topic: "t", Payload: make([]byte, 1<<20)}, now); err != nil {
		t.Fatal(err)
	}
	giveUp(honest)
	h.bury(t.Context())
	if used := h.dead.pool.Used(); used > 2<<20 || len(h.dead.graves) != 1 {
		t.Errorf("%d bytes of %d dead letters are counted when all but one have left the log", used, len(h.dead.graves))
	}
}

// TestNobodyWhoPublishesBuries checks that a publish only requests that dead letters are
// published, and does not wait for it.
func TestNobodyWhoPublishesBuries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t)
		c, err := h.log.Subscribe(journal.Subscription{Patterns: []string{"t"}, Class: journal.AtLeastOnce, Deliveries: 1}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		publish := func() {
			<-time.After(2 * time.Second)
			if _, err := h.Publish(t.Context(), &journal.Message{Topic: "t"}); err != nil {
				t.Fatal(err)
			}
		}
		publish()
		synctest.Wait()
		if _, _, _, err := c.Fill(nil, 1<<20, 10, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := c.Nack(time.Now(), 1, 0, ""); err != nil {
			t.Fatal(err)
		}
		// Another goroutine publishes dead letters, and is slow.
		h.dead.busy.Store(true)
		publish()
		synctest.Wait()
		if got := h.dead.kept.Load(); got != 0 {
			t.Errorf("%d dead letters were published by who publishes", got)
		}
		h.dead.busy.Store(false)
		publish()
		synctest.Wait()
		if got := h.dead.kept.Load(); got != 1 {
			t.Errorf("%d dead letters were published, want 1", got)
		}
	})
}
