package journal_test

import (
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestWhatAMemberHasNotReadIsNotForgotten checks that when a member leaves, the others get the messages that it
// has not read, or are told of a gap, even if its part of Options.Backlog is in use and numbers were forgotten.
func TestWhatAMemberHasNotReadIsNotForgotten(t *testing.T) {
	const messages = 600
	for name, c := range map[string]struct {
		read int
		// forgot means that the numbers of some unread messages are not remembered.
		alive, forgot bool
	}{
		"it closes and has read nothing": {alive: true, forgot: true},
		"it closes and has read a part":  {alive: true, read: 100, forgot: true},
		"it closes and has read most":    {alive: true, read: 500},
		"it closes and has read all":     {alive: true, read: messages},
		"it is lost":                     {forgot: true},
		"it is lost and has read most":   {read: 500},
	} {
		t.Run(name, func(t *testing.T) {
			now := start()
			l := newLog(t, journal.Options{Backlog: 1})
			sub := journal.Subscription{Patterns: []string{"t"}, Group: "g", Credit: journal.MaxCredit, Limits: journal.Limits{Messages: 2 * messages}}
			a := subscribe(t, l, now, sub)
			for range messages {
				publish(t, l, now, say("t", "x")...)
				a.read(now)
			}
			b := subscribe(t, l, now, sub)
			a.AddCredit(c.read, now)
			if c.alive {
				a.Close(now)
			} else {
				a.Detach(now)
			}
			came, missing, unknown := 0, 0, 0
			var rec journal.Record
			for b.more = true; b.more; {
				out, n, more, err := b.Fill(nil, 64<<10, 256, now)
				if err != nil {
					t.Fatal(err)
				}
				came, b.more = came+n, more
				for b.reader.Reset(out); ; {
					if ok, err := b.reader.Next(&rec); err != nil {
						t.Fatal(err)
					} else if !ok {
						break
					}
					if rec.Kind != journal.KindGap {
						continue
					}
					if missing += int(rec.Gap.Count); rec.Gap.Count == 0 {
						unknown += int(rec.Gap.To - rec.Gap.From + 1)
					}
				}
			}
			t.Logf("%d come, %d are told of, and some of %d", came, missing, unknown)
			if (unknown > 0) != c.forgot {
				t.Errorf("an unknown number of %d messages is told, and some are forgotten: %t", unknown, c.forgot)
			}
			if known := came + missing; known > messages-c.read || known+unknown < messages-c.read {
				t.Errorf("%d messages come or are counted, and some of %d are told; the member that left has not read %d", known, unknown, messages-c.read)
			}
			if c.alive && missing > 0 {
				t.Errorf("%d messages are lost that are kept", missing)
			}
		})
	}
}

// TestAGapOfAMemberThatIsLostIsToldToAnother checks that a gap is told to another member unless the member that was
// told of it is known to have read a message that came after the gap.
func TestAGapOfAMemberThatIsLostIsToldToAnother(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	sub := journal.Subscription{Patterns: []string{"t"}, Group: "g"}
	member := func() *stream { return subscribe(t, l, now, sub) }
	a := member()
	publish(t, l, now, say("t", "1", "2")...)
	a.want(now, "1 2")
	b := member()
	a.Detach(now)
	b.want(now, "(lost 1-2 x2)")
	c := member()
	// It is unknown whether b has received the gap.
	b.Detach(now)
	c.want(now, "(lost 1-2 x2)")
	publish(t, l, now, say("t", "3")...)
	c.want(now, "3")
	d := member()
	// The credit of message 3 shows that c has also received the gap before it.
	c.AddCredit(1, now)
	c.Detach(now)
	d.want(now, "")
	publish(t, l, now, journal.Message{Topic: "t", TTL: time.Second})
	now = now.Add(time.Second)
	d.want(now, "(ttl 4-4 x1)")
	publish(t, l, now, say("t", "5")...)
	d.want(now, "5")
	e := member()
	// The credit of message 5 is not given back, so d has not read what came after the gap.
	d.Close(now)
	e.want(now, "(ttl 4-4 x1) 5")
	e.AddCredit(1, now)
	f := member()
	e.Close(now)
	f.want(now, "")
}
