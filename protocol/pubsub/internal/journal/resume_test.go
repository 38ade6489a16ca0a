package journal_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestASessionThatIsResumedDuringACopyLosesNothing resumes a session while Fill copies a long message
// without the lock. The messages after that one must come on the new stream.
func TestASessionThatIsResumedDuringACopyLosesNothing(t *testing.T) {
	const long, short, times, most = 2 << 20, 10, 20, 2000
	// Go does not interrupt a copy to run another goroutine, so one thread would never meet it.
	if runtime.GOMAXPROCS(0) == 1 {
		runtime.GOMAXPROCS(2)
		defer runtime.GOMAXPROCS(1)
	}
	resumed := 0
	for i := 0; i < times || resumed == 0 && i < most; i++ {
		now := start()
		l := newLog(t, journal.Options{})
		old := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, ID: "s"})
		publish(t, l, now, say("t", "first")...)
		old.want(now, "first")
		publish(t, l, now, say("t", string(make([]byte, long)))...)
		publish(t, l, now, say("t", numbers(1, short)...)...)
		filled := make(chan error)
		go func() {
			_, _, _, err := old.Fill(nil, 2*long, 1+short, now)
			filled <- err
		}()
		// Wait until Fill has taken the long message, which it may still be copying then.
		for old.Stats(now).Unacked < 2 {
			runtime.Gosched()
		}
		c, err := l.Resume("s", "", 0, now)
		if err != nil {
			t.Fatal(err)
		}
		if errors.Is(<-filled, journal.ErrClosed) {
			resumed++
		}
		came := 0
		for more := true; more; {
			var n int
			if _, n, more, err = c.Fill(nil, 2*long, 1+short, now); err != nil {
				t.Fatal(err)
			}
			came += n
		}
		if came != 2+short {
			t.Fatalf("%d messages come on the new stream, want %d", came, 2+short)
		}
	}
	if resumed == 0 {
		t.Errorf("none of %d sessions was resumed during a copy, so nothing was tested", most)
	}
}
