package journal_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestRunsKeepTheMarkInItsPlace checks that MARK(live) comes between history and live messages,
// although their records lie side by side.
func TestRunsKeepTheMarkInItsPlace(t *testing.T) {
	l, now := newLog(t, journal.Options{}), start()
	publish(t, l, now, say("a", "1", "2", "3")...)
	s := subscribe(t, l, now, journal.Subscription{Class: journal.Reliable, Start: journal.StartAll()})
	s.marks = true
	publish(t, l, now, say("a", "4", "5", "6")...)
	if got, want := s.read(now), "1 2 3 [1 to 3] 4 5 6"; got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

// TestRunsAreCounted checks that messages written in a run are counted like single messages.
func TestRunsAreCounted(t *testing.T) {
	l, now := newLog(t, journal.Options{}), start()
	s := subscribe(t, l, now, journal.Subscription{Class: journal.Reliable})
	const n = 1000
	for range n {
		publish(t, l, now, say("a", "x")...)
	}
	s.read(now)
	if st := s.Stats(now); st.Messages != n || st.Bytes != l.Written() || st.Lag.Messages != 0 {
		t.Errorf("%d messages, %d bytes, %d behind, want %d, %d and none", st.Messages, st.Bytes, st.Lag.Messages, n, l.Written())
	}
}

// TestPublishersDoNotDisturbRuns has subscriptions read while publishers move the ring on, and
// checks that what each receives and is told of is everything that was published.
func TestPublishersDoNotDisturbRuns(t *testing.T) {
	const publishers, each = 3, 20000
	l, now := newLog(t, journal.Options{Bytes: 16 << 10}), start()
	classes := []journal.Subscription{
		{Class: journal.BestEffort},
		{Class: journal.BestEffort, Limits: journal.Limits{Messages: 8}},
		{Class: journal.Latest},
		{Class: journal.Reliable},
		{Class: journal.AtLeastOnce},
	}
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for _, sub := range classes {
		s := subscribe(t, l, now, sub)
		readers.Go(func() {
			if err := readAll(s.Cursor, now, publishers*each, sub.Class == journal.AtLeastOnce, done); err != nil {
				t.Errorf("class %v: %v", sub.Class, err)
			}
		})
	}
	for p := range publishers {
		writers.Go(func() {
			for i := range each {
				m := journal.Message{Topic: fmt.Sprint("t", i/100%3), Payload: make([]byte, 10+i%90)}
				if i%50 == 0 {
					m.Priority = 200
				}
				if i%1000 == p {
					m.Payload = make([]byte, 20<<10)
				}
				if _, err := l.Append(m, now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
}

// readAll reads until everything is published and read, and checks that every message was
// received once, or told. For a Reliable cursor that is too far behind it returns nil at once.
func readAll(c *journal.Cursor, now time.Time, published uint64, acks bool, done <-chan struct{}) error {
	r := journal.NewReader(journal.ReaderLimits{})
	var buf []byte
	var rec journal.Record
	var received, told uint64
	seen, covered, waiting := make(map[uint64]bool), make(map[uint64]bool), make(map[uint64]bool)
	// unknown is set if some gaps have no count.
	unknown := false
	for {
		last := false
		select {
		case <-done:
			last = true
		default:
		}
		var more bool
		var err error
		buf, _, more, err = c.Fill(buf[:0], 8<<10, 100, now)
		r.Reset(buf)
		for {
			ok, err := r.Next(&rec)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			switch rec.Kind {
			case journal.KindMessage:
				if seen[rec.Seq] {
					return fmt.Errorf("message %d twice", rec.Seq)
				}
				seen[rec.Seq], covered[rec.Seq] = true, true
				if acks {
					waiting[rec.Seq] = true
				}
				received++
			case journal.KindGap:
				told += rec.Gap.Count
				unknown = unknown || rec.Gap.Count == 0
				for seq := rec.Gap.From; seq <= rec.Gap.To; seq++ {
					covered[seq] = true
				}
			case journal.KindMark, journal.KindTopic, journal.KindClock, journal.KindDelivery:
			}
		}
		if err != nil {
			if _, behind := errors.AsType[*journal.TooFarBehindError](err); behind {
				return nil
			}
			return err
		}
		for seq := range waiting {
			if _, err := c.Ack(now, journal.Range{From: seq, To: seq}); err != nil {
				return err
			}
		}
		clear(waiting)
		switch {
		case more:
		case !last:
			select {
			case <-c.Ready():
			case <-done:
			}
		case c.Idle():
			if sum := received + told; sum > published || sum < published && !unknown || uint64(len(covered)) != published {
				return fmt.Errorf("%d received and %d told of %d, some uncounted: %v; %d numbers are delivered or in a gap", received, told, published, unknown, len(covered))
			}
			return nil
		}
	}
}
