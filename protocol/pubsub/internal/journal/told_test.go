package journal_test

import (
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestWhatDoesNotComeAgainIsToldByNumberWhereGapsBecomeFew: a subscriber whose part of Options.Unacked
// is in use, and whose connection is lost while it is told of single messages that do not come
// again, is told of each of them once more, so that it waits for none, whatever its lane.
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
