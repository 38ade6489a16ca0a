//go:build !race

package journal_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	pool "github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// The tests in this file move hundreds of MiB, or many small messages in one goroutine. The
// race detector would make them ten times as slow, and would see no goroutine here that it
// does not see in the other tests.

// TestBacklogsOfAnIdentityShareABound has many subscriptions of one identity read nothing, with the
// largest limits. Whatever their class, they must take no more than their identity's part, and be
// told of what is dropped. The backlog of another identity must be as large as it needs.
func TestBacklogsOfAnIdentityShareABound(t *testing.T) { // SEC-391
	const bound, subscriptions, messages = 1 << 20, 48, 10_000
	for name, sub := range map[string]journal.Subscription{
		"oldest":           {},
		"newest":           {Overflow: journal.DropNewest},
		"group":            {Group: "g", Credit: journal.MaxCredit},
		"group, with keys": {Group: "g", Patterns: []string{"keyed.>"}},
		"latest":           {Class: journal.Latest},
		"reliable":         {Class: journal.Reliable},
		"at least once":    {Class: journal.AtLeastOnce, Group: "g", Credit: journal.MaxCredit},
	} {
		t.Run(name, func(t *testing.T) {
			now := start()
			l := newLog(t, journal.Options{Backlog: bound, Unacked: 64 << 20})
			if sub.Class == journal.BestEffort {
				sub.Limits = journal.Limits{Messages: journal.MaxBacklog, Bytes: 1 << 30, Age: time.Hour}
			}
			if sub.Class == journal.AtLeastOnce {
				sub.Limits = journal.Limits{Messages: journal.MaxWindow}
			}
			sub.Who = pool.Key{Name: "mallory"}
			group := sub.Group
			before := heap()
			var all []*stream
			for i := range subscriptions {
				if group != "" {
					sub.Group = fmt.Sprint(group, i)
				}
				all = append(all, subscribe(t, l, now, sub))
			}
			other := subscribe(t, l, now, journal.Subscription{
				Who: pool.Key{Name: "billing"}, Limits: journal.Limits{Messages: messages, Bytes: 1 << 30, Age: time.Hour},
			})
			for i := range messages {
				publish(t, l, now, journal.Message{Topic: fmt.Sprint("keyed.", i%100), Key: fmt.Sprint(i)})
			}
			grown := heap() - before - int64(l.Stats().Bytes)
			t.Logf("%d KiB are counted, %d KiB are in use beside the ring", l.Stats().Backlog>>10, grown>>10)
			if got := l.Stats().Backlog; got > bound*3/4 {
				t.Errorf("%d bytes of backlogs are counted, of %d", got, bound)
			}
			if most := int64(bound + subscriptions*(64<<10)); grown > most {
				t.Errorf("%d KiB are in use beside the ring, want at most %d", grown>>10, most>>10)
			}
			if l.Stats().Crowded == 0 && sub.Class != journal.Reliable {
				t.Error("nothing was counted as refused")
			}
			if came, missing := account(t, other, now); came != messages || missing != 0 {
				t.Errorf("another one gets %d messages, and %d are missing, of %d", came, missing, messages)
			}
			for _, s := range all[:4] {
				if came, missing := account(t, s, now); came+missing != messages && sub.Class != journal.AtLeastOnce {
					t.Errorf("%d messages came and %d are told to be missing, of %d", came, missing, messages)
				}
			}
			for _, s := range append(all, other) {
				s.Close(now)
			}
			if got := l.Stats().Backlog; got != 0 {
				t.Errorf("%d bytes are counted of nobody", got)
			}
			runtime.KeepAlive(all)
		})
	}
}

// TestWhatMembersGaveBackCountsOn has a member take as much as it may and leave, in one group after
// the other. The other member of each group takes nothing. What the first ones leave must take no
// more than their identity's part.
func TestWhatMembersGaveBackCountsOn(t *testing.T) { // SEC-400
	const bound, groups = 1 << 20, 24
	for name, c := range map[string]struct {
		class    journal.Class
		messages int
		// sent means that the member was sent what it leaves, and has not said that it read it.
		sent bool
	}{
		"best effort": {journal.BestEffort, 10_000, false},
		// This is no more than what is remembered of messages in flight.
		"best effort, sent": {journal.BestEffort, 2000, true},
		"at least once":     {journal.AtLeastOnce, 10_000, false},
	} {
		t.Run(name, func(t *testing.T) {
			now := start()
			l := newLog(t, journal.Options{Backlog: bound})
			sub := journal.Subscription{
				Who: pool.Key{Name: "mallory"}, Class: c.class, Limits: journal.Limits{Messages: journal.MaxWindow, Bytes: journal.MaxWindowBytes, Age: time.Hour},
			}
			before := heap()
			var stay []*stream
			for i := range groups {
				topic := fmt.Sprint("t", i)
				sub.Group, sub.Credit, sub.Patterns = "g", 1, []string{topic}
				stay = append(stay, subscribe(t, l, now, sub))
				sub.Credit = journal.MaxCredit
				leaves := subscribe(t, l, now, sub)
				for range c.messages {
					publish(t, l, now, say(topic, "x")...)
				}
				if c.sent {
					account(t, leaves, now)
				}
				leaves.Close(now)
			}
			grown := heap() - before - int64(l.Stats().Bytes)
			t.Logf("%d KiB are counted, %d KiB are in use beside the ring", l.Stats().Backlog>>10, grown>>10)
			if got := l.Stats().Backlog; got < bound/4 || got > bound*7/8 {
				t.Errorf("%d bytes of backlogs are counted, of %d", got, bound)
			}
			if most := int64(bound + groups*(64<<10)); grown > most {
				t.Errorf("%d KiB are in use beside the ring, want at most %d", grown>>10, most>>10)
			}
			if came, missing := account(t, stay[0], now); came+missing == 0 {
				t.Error("the member that stayed gets nothing")
			}
			// Every other member closes without having read anything more.
			for i, s := range stay {
				if s.AddCredit(journal.MaxCredit, now); i%2 == 0 {
					account(t, s, now)
				}
				s.Close(now)
			}
			if got := l.Stats().Backlog; got != 0 {
				t.Errorf("%d bytes are counted of nobody", got)
			}
			runtime.KeepAlive(stay)
		})
	}
}

// TestWhatIsKeptBesideAMessageCounts nacks records of 20 bytes over and over with long causes,
// and checks that they take no more memory than a subscriber's part of Options.Unacked.
func TestWhatIsKeptBesideAMessageCounts(t *testing.T) { // SEC-360
	const unacked = 16 << 20
	now := start()
	l := newLog(t, journal.Options{Unacked: unacked, Bytes: 1 << 20})
	subs := make([]*stream, 4)
	for i := range subs {
		subs[i] = subscribe(t, l, now, journal.Subscription{
			Class: journal.AtLeastOnce, Deliveries: journal.MaxDeliveries, Limits: journal.Limits{Messages: 8192},
			Patterns: []string{"t"}, Who: pool.Key{Name: "mallory"},
		})
	}
	cause := string(make([]byte, 256))
	before := heap()
	for range 8192 {
		publish(t, l, now, say("t", "x")...)
	}
	for range 20 {
		for _, s := range subs {
			out, _, _, err := s.Fill(nil, 1<<20, 8192, now)
			if err != nil {
				t.Fatal(err)
			}
			for seq := range journal.Messages(out) {
				if err := s.Nack(now, seq, 0, cause); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	grown := heap() - before
	t.Logf("%d KiB of %d KiB are counted, and %d KiB are in use", l.Stats().Unacked>>10, unacked>>10, grown>>10)
	if got := l.Stats().Unacked; got > unacked/2+unacked/8 || grown > unacked {
		t.Errorf("one subscriber has %d bytes of %d, and %d are in use", got, unacked, grown)
	}
	runtime.KeepAlive(subs)
}

// TestGapsThatWereToldLeaveOthersTheirWindows has subscriptions ask again for thousands of single
// messages that are not kept any more, and never confirm the gaps. The window of another subscriber
// must still get as much as it needs, and the gaps must be told again when a session is resumed.
func TestGapsThatWereToldLeaveOthersTheirWindows(t *testing.T) { // SEC-401
	const unacked, subscriptions = 64 << 20, 400
	now := start()
	l := newLog(t, journal.Options{Unacked: unacked, Age: time.Minute})
	publish(t, l, now, say("t", numbers(1, 2*journal.MaxAgain)...)...)
	sub := journal.Subscription{
		Class: journal.AtLeastOnce, Who: pool.Key{Name: "mallory"}, Patterns: []string{"t"},
		Start: journal.StartAt(journal.Position{Epoch: l.Epoch(), Seq: [journal.Lanes]uint64{0, 2 * journal.MaxAgain, 0}}),
	}
	for seq := uint64(2); seq <= 2*journal.MaxAgain; seq += 2 {
		sub.Again = append(sub.Again, journal.Range{From: seq, To: seq})
	}
	honest := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Who: pool.Key{Name: "billing"}, Patterns: []string{"u"}})
	now = now.Add(2 * time.Minute)
	publish(t, l, now, say("other", "x")...)
	for i := range subscriptions {
		sub.ID = fmt.Sprint(i)
		if _, missing := account(t, subscribe(t, l, now, sub), now); missing < journal.MaxAgain {
			t.Fatalf("subscription %d is told of %d messages, want at least %d", i, missing, journal.MaxAgain)
		}
	}
	t.Logf("%d KiB of %d are counted", l.Stats().Unacked>>10, unacked>>10)
	if held := l.Stats().Unacked; held > unacked/2+unacked/8 || held < unacked/8 {
		t.Errorf("one subscriber has %d of %d", held, unacked)
	}
	for range 600 {
		publish(t, l, now, journal.Message{Topic: "u", Payload: make([]byte, 16<<10)})
	}
	account(t, honest, now)
	if st := honest.Stats(now); st.UnackedBytes < journal.DefaultWindowBytes-(17<<10) {
		t.Errorf("another one has %d bytes, want its window of %d", st.UnackedBytes, journal.DefaultWindowBytes)
	}
	for _, id := range []string{"0", fmt.Sprint(subscriptions - 1)} {
		c, err := l.Resume(id, "", 0, now)
		if err != nil {
			t.Fatal(err)
		}
		s := &stream{TB: t, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
		if _, missing := account(t, s, now); missing < journal.MaxAgain {
			t.Errorf("session %s is told again of %d messages, want at least %d", id, missing, journal.MaxAgain)
		}
	}
}

// TestWhatASubscriberSaysTouchesNoMoreThanItSpeaksOf counts the deliveries that are looked at
// when a subscriber extends all leases, acks one message, nacks one, acks a range in which
// nothing can be acked, or resumes. Beside 60,000 unacked messages there must be no more than
// beside 100, because publishers wait meanwhile.
func TestWhatASubscriberSaysTouchesNoMoreThanItSpeaksOf(t *testing.T) { // SEC-359
	type act struct {
		name string
		do   func(t *testing.T, l *journal.Log, s *stream, now time.Time, i uint64)
		// late has all messages nacked first, with a delay.
		late bool
	}
	const times = 50
	one := func(s *stream, now time.Time, seq uint64) error {
		_, err := s.Ack(now, journal.Range{From: seq, To: seq})
		return err
	}
	for _, a := range []act{
		{"says that it lives", func(t *testing.T, _ *journal.Log, s *stream, now time.Time, _ uint64) {
			t.Helper()
			if err := s.ExtendAll(now); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"acks one by one", func(t *testing.T, _ *journal.Log, s *stream, now time.Time, i uint64) {
			t.Helper()
			if err := one(s, now, i+1); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"nacks the last ones, and gets them again", func(t *testing.T, _ *journal.Log, s *stream, now time.Time, _ uint64) {
			t.Helper()
			if err := s.Nack(now, uint64(s.Stats(now).Unacked), 0, ""); err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := s.Fill(nil, 1<<10, 1, now); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"acks a range in vain", func(t *testing.T, _ *journal.Log, s *stream, now time.Time, _ uint64) {
			t.Helper()
			if n, err := s.AckThrough(now, uint64(s.Stats(now).Unacked)); n != 0 || err != nil {
				t.Fatal(n, err)
			}
		}, true},
		{"comes back", func(t *testing.T, l *journal.Log, s *stream, now time.Time, _ uint64) {
			t.Helper()
			c, err := l.Resume("s", "", 0, now)
			if err != nil {
				t.Fatal(err)
			}
			s.Cursor, s.reader = c, journal.NewReader(journal.ReaderLimits{})
			if _, n, _, err := s.Fill(nil, 1<<10, 1, now); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}, false},
	} {
		t.Run(a.name, func(t *testing.T) {
			cost := func(messages int) (steps, bytes uint64) {
				now := start()
				l := newLog(t, journal.Options{})
				s := burden(t, l, now, "s", messages)
				for seq := uint64(1); a.late && seq <= uint64(messages); seq++ {
					if err := s.Nack(now, seq, time.Hour, ""); err != nil {
						t.Fatal(err)
					}
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				looked := s.Looked()
				for i := range uint64(times) {
					now = now.Add(time.Millisecond)
					a.do(t, l, s, now, i)
				}
				steps = (s.Looked() - looked) / times
				runtime.ReadMemStats(&after)
				return steps, (after.TotalAlloc - before.TotalAlloc) / times
			}
			few, fewBytes := cost(100)
			many, manyBytes := cost(60_000)
			t.Logf("%d deliveries and %d bytes beside 100, %d and %d beside 60,000", few, fewBytes, many, manyBytes)
			if many > few+2048 || manyBytes > 2*fewBytes+4096 {
				t.Errorf("%d deliveries and %d bytes beside 100, %d and %d beside 60,000", few, fewBytes, many, manyBytes)
			}
		})
	}
}

// TestReceivedAndGapsAreWhatWasPublished checks the promise of the package over random histories.
func TestReceivedAndGapsAreWhatWasPublished(t *testing.T) {
	first := rand.Uint64()
	for i := range uint64(400) {
		if history(t, first+i, nil); t.Failed() {
			return
		}
	}
}

// TestADrainTellsWhatItCannotDeliver checks over random histories that a drain tells of all
// messages that it does not deliver.
func TestADrainTellsWhatItCannotDeliver(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(t, seed, nil)
		w.play(1 + w.choose.below(300))
		if !t.Failed() {
			w.drain()
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
