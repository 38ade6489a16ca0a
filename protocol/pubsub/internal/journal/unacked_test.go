package journal_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestWindowsShareABound checks that the windows of one subscriber together hold no more than
// half of what the log allows, that each has at least one message, and that acks in one make
// room in the others.
func TestWindowsShareABound(t *testing.T) {
	now := start()
	const size, room, subscribers = 1000, 10, 4
	for _, group := range []string{"", "g"} {
		l := newLog(t, journal.Options{Unacked: 2 * room * (size + 20 + journal.DeliveryCost)})
		var streams []*stream
		for range subscribers {
			streams = append(streams, subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Group: group}))
		}
		const published = 40
		for range published {
			publish(t, l, now, journal.Message{Topic: "t", Payload: make([]byte, size)})
		}
		total := published
		if group == "" {
			total *= subscribers
		}
		read := make(map[*stream]map[uint64]bool)
		for _, s := range streams {
			read[s] = make(map[uint64]bool)
		}
		var waits, done int
		fill := func() {
			for _, s := range streams {
				frame, n, _, err := s.Fill(nil, 1<<20, 100, now)
				if err != nil {
					t.Fatal(err)
				}
				waits += n
				s.reader.Reset(frame)
				var rec journal.Record
				for {
					if ok, err := s.reader.Next(&rec); err != nil {
						t.Fatal(err)
					} else if !ok {
						break
					}
					if rec.Kind == journal.KindMessage {
						read[s][rec.Seq] = true
					}
				}
			}
		}
		for round := 0; done < total; round++ {
			fill()
			if most := room + subscribers; waits == 0 || waits > most {
				t.Fatalf("group %q, round %d: %d messages wait for acks, %d are done of %d; want 1 to %d to wait", group, round, waits, done, total, most)
			}
			if round == 0 {
				for i, s := range streams {
					if len(read[s]) == 0 {
						t.Errorf("group %q: subscriber %d has nothing", group, i)
					}
				}
				if st := l.Stats(); st.Throttled == 0 || st.Unacked < (room-1)*size {
					t.Errorf("group %q: %+v", group, st)
				}
			}
			for seq := range read[streams[round%subscribers]] {
				if _, err := streams[round%subscribers].Ack(now, journal.Range{From: seq, To: seq}); err != nil {
					t.Fatal(err)
				}
				delete(read[streams[round%subscribers]], seq)
				waits--
				done++
			}
			for _, s := range streams {
				// Take a signal from before, which is stale.
				select {
				case <-s.Ready():
				default:
				}
			}
			now = now.Add(time.Second)
			l.Tick(now)
			for i, s := range streams {
				// Skip a subscriber that its own acks have woken, or that has no room or nothing to read.
				if i == round%subscribers || group != "" || waits > room-2 || s.Stats(now).Lag.Messages == 0 {
					continue
				}
				select {
				case <-s.Ready():
				default:
					t.Errorf("round %d: %d messages wait, and subscriber %d was not woken for more", round, waits, i)
				}
			}
		}
		for _, s := range streams {
			s.Close(now)
		}
		if st := l.Stats(); st.Unacked != 0 {
			t.Errorf("group %q: %d bytes wait for acks of nobody", group, st.Unacked)
		}
	}
}

// TestWhatIsClosedWaitsForNoAck checks that nothing is counted as unacked when all have closed, and that messages
// that a member leaves to others, or that come again after a resume, are not counted twice.
func TestWhatIsClosedWaitsForNoAck(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	alone := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, ID: "s"})
	a := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Group: "g"})
	b := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Group: "g"})
	for i := range 20 {
		publish(t, l, now, say("t", fmt.Sprint(i))...)
	}
	for _, s := range []*stream{alone, a, b} {
		s.read(now)
	}
	before := l.Stats().Unacked
	a.Close(now)
	b.read(now)
	// The history of each message may have one more attempt.
	if got, most := l.Stats().Unacked, before+20*journal.AttemptCost; got < before || got > most {
		t.Errorf("%d bytes wait for acks after a member has left, want %d to %d", got, before, most)
	}
	before = l.Stats().Unacked
	alone.Detach(now)
	c, err := l.Resume("s", "", 0, now)
	if err != nil {
		t.Fatal(err)
	}
	again := &stream{TB: t, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
	again.read(now)
	if got, most := l.Stats().Unacked, before+20*journal.AttemptCost; got < before || got > most {
		t.Errorf("%d bytes wait for acks after a session was resumed, want %d to %d", got, before, most)
	}
	again.Close(now)
	b.Close(now)
	if got := l.Stats().Unacked; got != 0 {
		t.Errorf("%d bytes wait for acks of nobody", got)
	}
}

// TestWhatWaitsForAnAckKeepsOnlyItself checks that an unacked message that has left the ring
// keeps only its own record in memory, and not the records that were published beside it.
func TestWhatWaitsForAnAckKeepsOnlyItself(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{Bytes: 1 << 20})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Patterns: []string{"mine"}})
	before := heap()
	const n = 500
	for range n {
		publish(t, l, now, say("mine", "x")...)
		for range 8 {
			publish(t, l, now, journal.Message{Topic: "other", Payload: make([]byte, 8<<10)})
		}
		s.read(now)
	}
	l.Tick(now)
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("%d MiB are kept for %d messages of one byte", grown>>20, n)
	}
	if st := s.Stats(now); st.Unacked != n {
		t.Errorf("%d messages wait, want %d", st.Unacked, n)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
