package journal_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	pool "github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestWhatLeftTheRingBesideAMemberIsOneGap checks that messages that were sent to a member that
// leaves, and are not kept any more, are told to the others as one gap, however many they are.
func TestWhatLeftTheRingBesideAMemberIsOneGap(t *testing.T) {
	const messages = 3000
	now := start()
	l := newLog(t, journal.Options{Age: time.Minute})
	sub := journal.Subscription{Patterns: []string{"t"}, Group: "g", Credit: journal.MaxCredit, Limits: journal.Limits{Messages: messages, Age: time.Hour}}
	a := subscribe(t, l, now, sub)
	publish(t, l, now, say("t", numbers(1, messages)...)...)
	if came, _ := account(t, a, now); came != messages {
		t.Fatalf("%d messages came, want %d", came, messages)
	}
	now = now.Add(2 * time.Minute)
	publish(t, l, now, say("other", "x")...)
	b := subscribe(t, l, now, sub)
	a.Close(now)
	b.want(now, fmt.Sprintf("(retention 1-%d x%d)", messages, messages))
}

// TestGapsThatMembersGaveBackCount has members leave that were told of thousands of single messages
// and have not confirmed it. The gaps that they leave must be counted, and must take no more than
// their identity's part of Options.Backlog.
func TestGapsThatMembersGaveBackCount(t *testing.T) { // SEC-400
	const groups, bound = 48, 4 << 20
	now := start()
	l := newLog(t, journal.Options{Backlog: bound, Age: time.Minute})
	publish(t, l, now, say("t", numbers(1, 2*journal.MaxAgain)...)...)
	sub := journal.Subscription{
		Class: journal.AtLeastOnce, Who: pool.Key{Name: "mallory"}, Patterns: []string{"t"}, Credit: 1,
		Start: journal.StartAt(journal.Position{Epoch: l.Epoch(), Seq: [journal.Lanes]uint64{0, 2 * journal.MaxAgain, 0}}),
	}
	for seq := uint64(2); seq <= 2*journal.MaxAgain; seq += 2 {
		sub.Again = append(sub.Again, journal.Range{From: seq, To: seq})
	}
	now = now.Add(2 * time.Minute)
	publish(t, l, now, say("other", "x")...)
	before := heap()
	var stay []*stream
	for i := range groups {
		sub.Group = fmt.Sprint(i)
		leaves := subscribe(t, l, now, sub)
		if _, missing := account(t, leaves, now); missing < journal.MaxAgain {
			t.Fatalf("group %d is told of %d messages, want at least %d", i, missing, journal.MaxAgain)
		}
		stay = append(stay, subscribe(t, l, now, sub))
		leaves.Close(now)
	}
	grown, counted := heap()-before, int64(l.Stats().Backlog)
	t.Logf("%d KiB are counted, %d KiB are in use", counted>>10, grown>>10)
	if most := counted + groups*(48<<10); grown > most {
		t.Errorf("%d KiB are in use, want at most %d: %d are counted", grown>>10, most>>10, counted>>10)
	}
	if counted < bound/4 || counted > bound*7/8 {
		t.Errorf("%d KiB are counted, of %d", counted>>10, bound>>10)
	}
	for i, s := range stay {
		// Every other member closes without having read anything.
		if i%2 == 0 {
			if _, missing := account(t, s, now); missing < journal.MaxAgain {
				t.Errorf("the other member of group %d is told of %d messages, want at least %d", i, missing, journal.MaxAgain)
			}
		}
		s.Close(now)
	}
	if got := l.Stats().Backlog; got != 0 {
		t.Errorf("%d bytes are counted of nobody", got)
	}
	runtime.KeepAlive(stay)
}

// TestWhatAMemberGaveBackIsItsIdentitysOwn has a member take as much as it may from a group that
// another identity began, and leave. What it gave back must not use up the other's backlogs.
func TestWhatAMemberGaveBackIsItsIdentitysOwn(t *testing.T) { // SEC-400
	const messages, backlog = 12_000, 20_000
	now := start()
	l := newLog(t, journal.Options{Backlog: 1 << 20})
	limits := journal.Limits{Messages: journal.MaxBacklog, Bytes: 1 << 30, Age: time.Hour}
	billing, mallory := pool.Key{Name: "billing"}, pool.Key{Name: "mallory"}
	other := subscribe(t, l, now, journal.Subscription{Who: billing, Patterns: []string{"u"}, Limits: limits})
	first := subscribe(t, l, now, journal.Subscription{Who: billing, Patterns: []string{"t"}, Group: "g", Credit: 1, Limits: limits})
	leaves := subscribe(t, l, now, journal.Subscription{Who: mallory, Patterns: []string{"t"}, Group: "g", Credit: journal.MaxCredit, Limits: limits})
	publish(t, l, now, say("t", numbers(1, messages)...)...)
	leaves.Close(now)
	if held := l.Stats().Backlog; held < messages*32/2 {
		t.Fatalf("%d bytes are counted of what was given back", held)
	}
	publish(t, l, now, say("u", numbers(1, backlog)...)...)
	if came, missing := account(t, other, now); came != backlog || missing != 0 {
		t.Errorf("%d messages came and %d are missing beside what another left, want %d and none", came, missing, backlog)
	}
	first.AddCredit(journal.MaxCredit, now)
	if came, _ := account(t, first, now); came != messages {
		t.Errorf("the first member gets %d messages, want %d", came, messages)
	}
	first.Close(now)
	other.Close(now)
	if got := l.Stats().Backlog; got != 0 {
		t.Errorf("%d bytes are counted of nobody", got)
	}
}

// TestWhatIsHandedOverIsOwedToTheOthers checks that messages are owed to the other members while they are
// being handed over, so that the last member does not end in a drain before it has got them.
func TestWhatIsHandedOverIsOwedToTheOthers(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	sub := journal.Subscription{Patterns: []string{"t"}, Group: "g"}
	a := subscribe(t, l, now, sub)
	publish(t, l, now, say("t", "1", "2")...)
	a.want(now, "1 2")
	b := subscribe(t, l, now, sub)
	handOver := a.Leave(now)
	if !b.Owed(now, time.Time{}) {
		t.Error("nothing is owed to a member while it is handed over what another has left")
	}
	handOver()
	b.want(now, "1 2")
	if b.Owed(now, time.Time{}) {
		t.Error("something is owed to a member that got all there is")
	}
}

// TestWhatALeavingMemberPutOffLeavesOthersRoom has a member nack messages with a long delay, and leave. They
// wait in the window of another member, which keeps room for new ones. Those that do not fit are due at once.
func TestWhatALeavingMemberPutOffLeavesOthersRoom(t *testing.T) {
	const window = 100
	now := start()
	l := newLog(t, journal.Options{})
	sub := journal.Subscription{Class: journal.AtLeastOnce, Patterns: []string{"t"}, Group: "g", Credit: 10 * window, Limits: journal.Limits{Messages: window}}
	a := subscribe(t, l, now, sub)
	publish(t, l, now, say("t", numbers(1, window)...)...)
	a.read(now)
	for seq := uint64(1); seq <= window; seq++ {
		if err := a.Nack(now, seq, 300*time.Hour, ""); err != nil {
			t.Fatal(err)
		}
	}
	b := subscribe(t, l, now, sub)
	a.Close(now)
	publish(t, l, now, say("t", "new")...)
	// takes reads and acks what comes, and returns the number of messages and the last payload.
	takes := func() (n int, last string) {
		for word := range strings.FieldsSeq(b.read(now)) {
			n++
			last, _, _ = strings.Cut(word, "#")
			if seq, err := strconv.ParseUint(last, 10, 64); err == nil {
				acked(t, b, now, 1, journal.Range{From: seq, To: seq})
			}
		}
		return n, last
	}
	early, last := takes()
	if last != "new" {
		var n int
		n, last = takes()
		early += n
	}
	if last != "new" {
		t.Errorf("%d messages come to the member that stays, and acks them, and the new one does not", early)
	}
	now = now.Add(300 * time.Hour)
	acked(t, b, now, 1, journal.Range{From: window + 1, To: window + 1})
	late, _ := takes()
	if late < window/2 || early-1+late != window {
		t.Errorf("of %d messages that wait %d come at once, and %d when it is time", window, early-1, late)
	}
}
