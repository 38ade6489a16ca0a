package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
)

// script is a stream that was made by hand.
type script struct {
	end     error
	granted int
	closed  bool
}

func (s *script) Recv() (link.Frame, error) { return link.Frame{}, s.end }
func (s *script) Grant(_, bytes int) error  { s.granted += bytes; return nil }
func (s *script) Close()                    { s.closed = true }

func records(body string) link.Frame {
	return link.Frame{Kind: frame.KindRecords, Credited: true, Body: []byte(body)}
}

func part(body string) link.Frame {
	return link.Frame{Kind: frame.KindPart, Credited: true, Body: []byte(body)}
}

// arrivals returns what takes the frames of a stream into an inbox whose subscription lasts.
func (l *Loose) arrivals(st *script) *arrivals {
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.conn.shrunk = notify.NewFlag()
	return &arrivals{
		to: intake{box: l.Inbox, member: l.conn.Member}, conn: l.conn, stream: st, parts: flow.Joiner{Most: maxRecords},
		wake: notify.NewFlag(), over: make(chan struct{}), remains: remains{room: NewShared().unheard.Holder(share.Key{Name: "feed"})},
	}
}

// waiting returns the bodies of the frames in an inbox, and removes them.
func (l *Loose) waiting() (bodies []string) {
	for f := l.queue.pop(); f != nil; f = l.queue.pop() {
		l.conn.Member.finished(f)
		bodies = append(bodies, string(f.body))
	}
	return bodies
}

// TestAFrameGoesStraightIntoTheInbox checks that whoever reads a stream leaves a frame where the
// subscription finds it, with one allocation and no other goroutine.
func TestAFrameGoesStraightIntoTheInbox(t *testing.T) {
	l := NewLoose("t")
	a := l.arrivals(new(script))
	defer a.drop()
	f := records("one")
	got := testing.AllocsPerRun(100, func() {
		a.take(f)
		next := l.queue.pop()
		if next == nil || string(next.body) != "one" || next.owed != 3 {
			t.Fatalf("the inbox has %+v", next)
		}
		l.conn.Member.finished(next)
	})
	if got > 1 {
		t.Errorf("%v allocations for a frame, want 1", got)
	}
}

// TestOnlyAMarkNeedsNoCredit checks that a frame without credit reaches the inbox only if it can be a mark, because
// nothing else bounds what a publisher sends that way.
func TestOnlyAMarkNeedsNoCredit(t *testing.T) {
	l := NewLoose("t")
	a := l.arrivals(new(script))
	defer a.drop()
	for range flow.Frames {
		a.take(link.Frame{Kind: frame.KindRecords, Body: make([]byte, maxMark+1)})
	}
	a.take(link.Frame{Kind: frame.KindRecords, Body: []byte("mark")})
	if got := l.waiting(); !slices.Equal(got, []string{"mark"}) {
		t.Errorf("the inbox has %d frames, the first of %d bytes, want the mark", len(got), len(got[0]))
	}
}

// TestWhatHasNoRoomStandsInLine checks that a part without room, and what comes behind it, reaches the
// inbox in order when there is room, and that marks do not wait for it.
func TestWhatHasNoRoomStandsInLine(t *testing.T) {
	all := flow.PartsOf(linktest.NewMesh(t).Node(link.Config{}))
	room := all.Of(link.Peer{})
	defer room.Release()
	l, st := NewLoose("t"), new(script)
	a := l.arrivals(st)
	defer a.drop()
	a.turn = flow.Turn{Parts: all, Room: room, Size: maxRecords}
	var taken int64
	for ; room.Take(maxRecords) == nil; taken += maxRecords { //nolint:revive // it takes all there is
	}
	a.take(records("first"))
	for _, f := range []link.Frame{part("long "), records("record"), {Kind: frame.KindRecords, Body: []byte("mark")}, records("last")} {
		a.take(f)
	}
	if got := l.waiting(); !slices.Equal(got, []string{"first"}) || st.granted > 0 {
		t.Errorf("without room the inbox has %q, and %d bytes are granted again", got, st.granted)
	}
	if first, err := a.advance(); first != frame.KindPart || err != nil {
		t.Errorf("a frame of kind %#x waits first, %v", first, err)
	}
	room.Give(taken)
	if first, err := a.advance(); first != 0 || err != nil {
		t.Errorf("a frame of kind %#x waits although there is room, %v", first, err)
	}
	if got := l.waiting(); !slices.Equal(got, []string{"long record", "last"}) || st.granted != len("long ") {
		t.Errorf("with room the inbox has %q, and %d bytes are granted again", got, st.granted)
	}
}

// TestWhoBreaksTheRulesIsHeardNoMore checks that frames that no publisher sends end a stream, because
// nothing would bound them, and that the publisher is connected to again.
func TestWhoBreaksTheRulesIsHeardNoMore(t *testing.T) {
	last := link.Frame{Kind: frame.KindLast}
	for name, frames := range map[string][]link.Frame{
		"a part without credit":  {{Kind: frame.KindPart, Body: []byte("long")}},
		"an end behind the end":  {last, last},
		"a report without sense": {{Kind: frame.KindTopics, Body: []byte("?")}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, st := NewLoose("t"), &script{end: io.EOF}
				a := l.arrivals(st)
				for _, f := range append(frames, records("more")) {
					a.take(f)
				}
				done := make(chan error, 1)
				go func() { done <- a.run(l.ctx) }()
				synctest.Wait()
				if !st.closed {
					t.Error("the stream goes on")
				}
				a.end()
				if err := <-done; link.CodeOf(err) != link.Internal || final(err) {
					t.Errorf("it ends with %v, after which the publisher is connected to again: %t", err, !final(err))
				}
			})
		})
	}
}

// TestAStreamThatHasEndedIsHeardToItsEnd checks that frames that wait behind many others are kept when
// their stream has ended, as long as there is room, and that they are not counted any longer than they
// wait there. Without room they are given up as if they had not come.
func TestAStreamThatHasEndedIsHeardToItsEnd(t *testing.T) {
	const more = 3
	for name, c := range map[string]struct {
		room bool
		end  error
		want error
	}{
		"there is room":                         {true, io.EOF, io.EOF},
		"there is none":                         {false, io.EOF, errUnheard},
		"there is none, and the stream is lost": {false, link.Unavailable, link.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := NewLoose("t")
				a := l.arrivals(&script{end: c.end})
				room := a.room
				if !c.room {
					other := NewShared().unheard
					other.Holder(share.Key{Name: "other"}).Add(maxUnheard)
					room = other.Holder(share.Key{Name: "feed"})
					a.room = room
				}
				for i := range flow.Frames + more {
					a.take(records(fmt.Sprint(i)))
				}
				a.end()
				done := make(chan error, 1)
				go func() { done <- a.run(l.ctx) }()
				synctest.Wait()
				n := flow.Frames
				if c.room {
					n += more
					if room.Held() < waiterCost || len(done) > 0 {
						t.Errorf("%d bytes are counted for what waits", room.Held())
					}
				}
				if unread := len(l.conn.Member.unread); l.queue.len() != n || unread != n {
					t.Errorf("%d frames wait, and %d count as received, want %d", l.queue.len(), unread, n)
				}
				for range more {
					l.conn.Member.finished(l.queue.pop())
				}
				if err := <-done; !errors.Is(err, c.want) {
					t.Errorf("it ends with %v, want %v", err, c.want)
				}
				if room.Held() != 0 {
					t.Errorf("%d bytes are counted when nothing waits", room.Held())
				}
			})
		})
	}
}

// TestLongFramesOfEarlierStreamsCount has a publisher send a frame as long as may be on one stream after another while
// nobody reads, and checks that those behind the first wait where they are counted, and come in when it was read.
func TestLongFramesOfEarlierStreamsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLoose("t")
		m, first := l.conn.Member, l.conn
		long := records(string(make([]byte, maxRecords)))
		a := l.arrivals(&script{end: link.Unavailable})
		m.last = first
		a.take(long)
		a.end()
		if err := a.run(l.ctx); !errors.Is(err, link.Unavailable) || l.queue.len() != 1 {
			t.Fatalf("the first stream ends with %v, and %d frames wait", err, l.queue.len())
		}
		l.conn = &Conn{Member: m, reader: first.reader, grants: first.grants}
		a = l.arrivals(&script{end: link.Unavailable})
		m.last = l.conn
		a.take(long)
		done := make(chan error, 1)
		go func() { done <- a.run(l.ctx) }()
		synctest.Wait()
		if n := l.queue.len(); n != 1 || len(a.line) != 1 {
			t.Errorf("%d frames wait for the reader and %d for room, want 1 of each", n, len(a.line))
		}
		first.read(l.queue.pop())
		synctest.Wait()
		if n := l.queue.len(); n != 1 || len(a.line) != 0 {
			t.Errorf("when the first was read, %d frames wait for the reader and %d for room, want 1 and 0", n, len(a.line))
		}
		a.end()
		if err := <-done; !errors.Is(err, link.Unavailable) {
			t.Errorf("the second stream ends with %v", err)
		}
		l.conn.read(l.queue.pop())
		if n := m.long.Load(); n != 0 {
			t.Errorf("%d bytes of long frames are counted when none waits", n)
		}
	})
}
