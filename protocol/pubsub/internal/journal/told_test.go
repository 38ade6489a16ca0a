package journal_test

import (
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestWhatDoesNotComeAgainIsToldByNumberWhereGapsBecomeFew has a subscriber lose its connection while it
// is told of single messages that do not come again, and while its part of Options.Unacked is in use. It
// must be told of each message again, whatever its lane, so that it waits for none.
func TestWhatDoesNotComeAgainIsToldByNumberWhereGapsBecomeFew(t *testing.T) {
	for name, c := range map[string]struct {
		again []uint64
		want  string
	}{
		"apart":        {[]uint64{50, 60, 70, 80}, "(retention 50-50 x1) (retention 60-60 x1) (retention 70-70 x1) (retention 80-80 x1)"},
		"side by side": {[]uint64{50, 51, 52, 80}, "(retention 50-52 x3) (retention 80-80 x1)"},
	} {
		t.Run(name, func(t *testing.T) {
			now := start()
			l := newLog(t, journal.Options{Unacked: 1, Age: time.Minute})
			publish(t, l, now, say("t", numbers(1, 100)...)...)
			now = now.Add(2 * time.Minute)
			publish(t, l, now, say("other", "x")...)
			sub := journal.Subscription{
				Class: journal.AtLeastOnce, ID: "s", Patterns: []string{"t"}, Start: journal.StartAt(journal.Position{Epoch: l.Epoch(), Seq: [journal.Lanes]uint64{100, 100, 100}}),
			}
			for _, seq := range c.again {
				sub.Again = append(sub.Again, journal.Range{From: seq, To: seq})
			}
			s := subscribe(t, l, now, sub)
			s.read(now)
			for range 2 { // the first time they are not few yet
				s.Detach(now)
				r, err := l.Resume("s", "", 0, now)
				if err != nil {
					t.Fatal(err)
				}
				s = &stream{TB: t, Cursor: r, reader: journal.NewReader(journal.ReaderLimits{})}
				s.want(now, c.want)
			}
		})
	}
}

// TestGapsThatBecomeFewPassNoMessage checks that condensed gaps do not pass a message that has not
// arrived. If its session were lost as well, the subscriber would resume behind that message.
func TestGapsThatBecomeFewPassNoMessage(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{Unacked: 1})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, ID: "s"})
	publish(t, l, now, journal.Message{Topic: "t", TTL: time.Second}, journal.Message{Topic: "t", Payload: []byte("2")},
		journal.Message{Topic: "t", TTL: time.Second}, journal.Message{Topic: "t", TTL: time.Second})
	now = now.Add(time.Second)
	s.want(now, "(ttl 1-1 x1) 2 (ttl 3-4 x2)")
	publish(t, l, now, journal.Message{Topic: "t", TTL: time.Second, Priority: 255})
	now = now.Add(time.Second)
	// There is no room to note this gap, so the earlier gaps are condensed.
	s.want(now, "(ttl 5-5 x1)")
	s.Detach(now)
	c, err := l.Resume("s", "", 0, now)
	if err != nil {
		t.Fatal(err)
	}
	var p journal.Position
	for more := true; more; {
		var out []byte
		if out, _, more, err = c.Fill(nil, 1, 1, now); err != nil {
			t.Fatal(err)
		}
		for seq := range journal.Messages(out) {
			if seq != 2 || p.Seq[journal.LaneOf(journal.DefaultPriority)] != 1 {
				t.Errorf("message %d comes to a subscriber at %v, want it after the first gap and before the other", seq, p)
			}
		}
		p = p.Advance(journal.AtLeastOnce, l.Epoch(), out)
	}
	if p.Seq[journal.LaneOf(journal.DefaultPriority)] != 4 {
		t.Errorf("the subscriber ends at %v, want 4", p)
	}
}

// TestAGapThatIsFoundInADrainPassesNoMessage checks that a new gap does not overtake a redelivery. A
// draining publisher looks for new messages while others are still to be delivered again.
func TestAGapThatIsFoundInADrainPassesNoMessage(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, ID: "s"})
	publish(t, l, now, journal.Message{Topic: "t", TTL: time.Second}, journal.Message{Topic: "t", Payload: []byte("2")})
	now = now.Add(time.Second)
	s.want(now, "(ttl 1-1 x1) 2")
	publish(t, l, now, journal.Message{Topic: "t", TTL: time.Second})
	now = now.Add(time.Second)
	c, err := l.Resume("s", "", 0, now)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Owed(now, time.Time{}) {
		t.Error("nothing is owed to a subscriber to which a message comes again")
	}
	s = &stream{TB: t, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
	s.want(now, "(ttl 1-1 x1) 2#2 (ttl 3-3 x1)")
}
