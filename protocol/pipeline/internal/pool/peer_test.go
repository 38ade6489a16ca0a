package pool

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// join has a producer join and report its backlog.
func join(t *testing.T, p *Pool, from share.Key, queue string, backlog uint64, now int64) *Source {
	t.Helper()
	s, _, err := p.Join(Hello{From: from, Queue: queue}, now)
	if err != nil {
		t.Fatal(err)
	}
	p.Backlog(s, backlog, now)
	return s
}

// TestWhoHasManyQueuesDoesNotGetMoreWindows checks that a peer that reports long backlogs for many
// queues, and sends nothing, does not get the windows that others need.
func TestWhoHasManyQueuesDoesNotGetMoreWindows(t *testing.T) { // SEC-370
	honest := share.Key{Name: "shop", Place: "10.0.0.2/32"}
	for name, from := range map[string]func(i int) share.Key{
		"one name":            func(int) share.Key { return share.Key{Name: "mallory"} },
		"one name at a place": func(int) share.Key { return share.Key{Name: "mallory", Place: "10.0.0.1/32"} },
		"names at a place":    func(i int) share.Key { return share.Key{Name: fmt.Sprint("mallory-", i), Place: "10.0.0.1/32"} },
		"the name of another": func(int) share.Key { return share.Key{Name: honest.Name, Place: "10.0.0.1/32"} },
	} {
		p := New(Options{Slots: 16})
		now := int64(time.Hour)
		for i := range 1000 {
			join(t, p, from(i), fmt.Sprint(i), math.MaxInt64, now)
		}
		s := join(t, p, honest, "q", 8, now)
		p.Tick(nil, now+shareEvery)
		if w := p.Take(s, nil, now); !w.Window || w.Tasks != 8 {
			t.Errorf("%s: a queue of 8 tasks gets a window of %d, of %d slots", name, w.Tasks, p.Capacity())
		}
	}
}

// TestManyNamesAtAnAddressHoldNoMoreThanHalf checks that all names at an address together hold at
// most half of the room for tasks, parts of tasks, kept results, and queues.
func TestManyNamesAtAnAddressHoldNoMoreThanHalf(t *testing.T) { // SEC-371
	p := New(Options{})
	var last *Source
	refused := 0
	for i := range 5000 {
		s, _, err := p.Join(Hello{From: share.Key{Name: fmt.Sprint("mallory-", i), Place: "10.0.0.1/32"}, Queue: "q"}, 1)
		if err != nil {
			refused++
			continue
		}
		last = s
		for range 40 {
			_ = s.Room().Take(frame.MaxResult)
		}
		p.keep(s, &frame.Outcome{Verb: frame.Result, Seq: 1, Data: make([]byte, 64<<10)}, 1)
	}
	if used, most := p.bounds.bytes.Used(), others/2*p.limit(); used > most || used < most/2 {
		t.Errorf("%d bytes of tasks are held, want at most %d", used, most)
	}
	if used, most := p.bounds.results.Used(), p.opts.CacheBytes/2; used > most {
		t.Errorf("%d bytes of results are kept, want at most %d", used, most)
	}
	if n := len(p.sources); n > others/2*MaxSources || refused == 0 {
		t.Errorf("%d queues are here, %d were refused", n, refused)
	}
	other := join(t, p, share.Key{Name: "shop", Place: "10.0.0.2/32"}, "q", 1, 1)
	if other.Room().Take(MaxTask) != nil {
		t.Error("another address has no room for a task")
	}
	p.keep(other, &frame.Outcome{Verb: frame.Result, Seq: 1, Data: make([]byte, 1<<20)}, 1)
	if other.cache.get(1, 1, time.Minute) == nil {
		t.Error("another address has no room for a result")
	}
	p.Leave(last, last.ready, 2, 2)
}

// TestRoundTripsThatWereNotMeasuredCountForNothing checks that a PONG without a matching PING does not
// count as a round trip. The windows of all producers depend on round trips.
func TestRoundTripsThatWereNotMeasuredCountForNothing(t *testing.T) {
	p := New(Options{})
	s := join(t, p, share.Key{Name: "shop"}, "q", 1, 1)
	p.Pong(s, 0, 1)
	if s.trips != 0 {
		t.Error("an answer to no question was taken")
	}
	for i := range int64(8) {
		s.pingDue = true
		now := (i + 1) * int64(time.Hour)
		p.Take(s, nil, now)
		p.Pong(s, 7, now+1)
		if s.trips != int(i) {
			t.Error("an answer to another question was taken")
		}
		p.Pong(s, uint64(now/1000), now+int64(time.Minute))
		p.Pong(s, uint64(now/1000), now+int64(time.Minute))
	}
	if s.trips != 8 || p.roundTrip() != maxTrip {
		t.Errorf("%d round trips, want 8; they count as %v, want %v", s.trips, time.Duration(p.roundTrip()), time.Duration(maxTrip))
	}
}

// TestQueuesDoNotMultiplyTurns checks that each of two groups that have tasks here gets every other
// turn, however many queues and names one of them has.
func TestQueuesDoNotMultiplyTurns(t *testing.T) { // SEC-375
	for name, from := range map[string]func(i int) share.Key{
		"one name":         func(int) share.Key { return share.Key{Name: "mallory"} },
		"names at a place": func(i int) share.Key { return share.Key{Name: fmt.Sprint("mallory-", i), Place: "10.0.0.1/32"} },
	} {
		p := New(Options{Slots: 16})
		send := func(s *Source) {
			// All sources may have been told such windows one after the other.
			s.wish, s.window = 8, 8
			if err := p.Receive(s, frameOf(1, 8, 1, false), 1, 1); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 500 {
			send(join(t, p, from(i), fmt.Sprint(i), 8, 1))
		}
		honest := join(t, p, share.Key{Name: "shop"}, "q", 8, 1)
		send(honest)
		turns := 0
		for range 8 {
			for _, task := range p.Begin(nil, 2) {
				if task.Source == honest {
					turns++
				}
			}
		}
		if turns != 4 {
			t.Errorf("%s: %d of 8 turns for one queue beside 500, want 4", name, turns)
		}
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
}

// TestASmallTaskDoesNotKeepALargeFrame checks that a small task does not keep a large frame in memory,
// since the rest of the frame is not counted.
func TestASmallTaskDoesNotKeepALargeFrame(t *testing.T) { // SEC-376
	p, s := one(t, Options{Slots: 4}, 0)
	small := frame.Task{Seq: 1, Delivery: 1, Attempt: 1, Left: -1, Start: -1, Body: []byte{1}}
	again := frame.Task{Seq: 1, Delivery: 2, Attempt: 1, Left: -1, Start: -1, Body: make([]byte, 4<<20)}
	body := again.Append(small.Append(nil))
	if err := p.Receive(s, body, 2, 2); err != nil {
		t.Fatal(err)
	}
	held := s.held.Get(1)
	if held == nil || len(held.Body) != 1 {
		t.Fatalf("held %v", held)
	}
	clear(body)
	if held.Body[0] != 1 {
		t.Error("a task of one byte keeps a frame of 4 MiB")
	}
	large := frame.Task{Seq: 2, Delivery: 1, Attempt: 1, Left: -1, Start: -1, Body: make([]byte, 4<<20)}
	whole := large.Append(nil)
	if err := p.Receive(s, whole, 3, 3); err != nil {
		t.Fatal(err)
	}
	whole[len(whole)-1] = 7
	if b := s.held.Get(2).Body; b[len(b)-1] != 7 {
		t.Error("a task that is its frame was copied")
	}
}

// TestQueuesThatReadNoResultsStopTheirIdentity checks that queues that do not read their results keep
// new tasks of their identity from being taken, but not those of others.
func TestQueuesThatReadNoResultsStopTheirIdentity(t *testing.T) { // SEC-377
	p := New(Options{Slots: 4})
	done := func(s *Source) int {
		s.wish, s.window = 8, 8
		if err := p.Receive(s, frameOf(1, 8, 1, false), 1, 1); err != nil {
			t.Fatal(err)
		}
		n := s.held.Len()
		for s.held.Len() > 0 {
			for _, task := range p.Begin(nil, 1) {
				p.Done(task, frame.Outcome{Verb: frame.Result, Data: make([]byte, frame.MaxResult)}, 1)
				p.Free()
			}
		}
		return n
	}
	var all []*Source
	for i := range 64 {
		s := join(t, p, share.Key{Name: "mallory"}, fmt.Sprint(i), 8, 1)
		all = append(all, s)
		done(s)
	}
	of := all[0].of
	if most := int64(PeerUnread + 9*frame.MaxResult); of.unread <= PeerUnread || of.unread > most {
		t.Errorf("%d bytes wait to be read, want more than %d and at most %d", of.unread, PeerUnread, most)
	}
	if n := done(join(t, p, share.Key{Name: "shop"}, "q", 8, 1)); n != 8 {
		t.Errorf("%d tasks of another were done, want 8", n)
	}
	for _, s := range all {
		p.Leave(s, s.ready, 1, 1)
	}
	if of.unread != 0 {
		t.Errorf("%d bytes stay counted", of.unread)
	}
}

// TestResultsMakeRoomForLaterOnes checks that results make room for later ones of the same queue, and
// are dropped when their time is over.
func TestResultsMakeRoomForLaterOnes(t *testing.T) {
	const each = 64 << 10
	p := New(Options{CacheBytes: 32 * each})
	greedy := join(t, p, share.Key{Name: "mallory"}, "q", 0, 1)
	other := join(t, p, share.Key{Name: "shop"}, "q", 0, 1)
	keep := func(s *Source, seq uint64) bool {
		p.keep(s, &frame.Outcome{Verb: frame.Result, Seq: seq, Data: make([]byte, each)}, 1)
		return s.cache.get(seq, 1, time.Minute) != nil
	}
	for seq := uint64(1); seq <= 1000; seq++ {
		if !keep(greedy, seq) {
			t.Fatalf("the result of task %d is not kept", seq)
		}
	}
	if n := p.bounds.results.Used() / each; n != 16 {
		t.Errorf("%d results are kept, want 16", n)
	}
	if !keep(other, 1) {
		t.Error("the result of another peer is not kept")
	}
	if greedy.cache.get(1, 1, time.Minute) != nil || greedy.cache.get(1000, 1, time.Minute) == nil {
		t.Error("it was not the oldest that went")
	}
	p.sweep(int64(DefaultCacheTime) + 2)
	if n := p.bounds.results.Used(); n != 0 || len(greedy.cache.results) != 0 {
		t.Errorf("%d bytes of results stay when their time is over", n)
	}
}
