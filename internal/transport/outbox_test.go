package transport

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// hold makes small writes to the outbox wait until flush.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.led = true
	o.direct.Store(0)
}

func (o *outbox) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue)
}

// taken returns the one session that the node has accepted.
func (n *node) taken(t *testing.T) *Session {
	t.Helper()
	n.known.mu.Lock()
	defer n.known.mu.Unlock()
	var found *Session
	for s := range n.known.sessions {
		if !s.dialed {
			if found != nil {
				t.Fatal("more than one connection was accepted")
			}
			found = s
		}
	}
	if found == nil {
		t.Fatal("no connection was accepted")
	}
	return found
}

func TestWritesThatWaitLeaveTogether(t *testing.T) {
	// With more than one processor, packets leave while their calls are still being written.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		s := w.quiet("web", Limits{}).connect(server)
		const calls = 50
		var done sync.WaitGroup
		all := func() {
			for i := range calls {
				done.Go(func() {
					want := fmt.Sprint("message ", i)
					if got, status, err := call(t.Context(), s, "echo", want); err != nil || status.Code != 0 || got != want {
						t.Errorf("call %d: %q, %+v, %v", i, got, status, err)
					}
				})
			}
		}
		all() // opens the streams
		done.Wait()
		settle()

		of := server.taken(t)
		s.outbox.hold()
		of.outbox.hold()
		sent, answered := s.conn.Stats().Sent, of.conn.Stats().Sent
		all()
		settle()
		if n := s.outbox.waiting(); n != calls {
			t.Fatalf("%d requests wait, want %d", n, calls)
		}
		if n := s.outbox.flush(); n != calls {
			t.Fatalf("%d requests were flushed, want %d", n, calls)
		}
		settle()
		if n := of.outbox.waiting(); n != calls {
			t.Fatalf("%d replies wait, want %d", n, calls)
		}
		of.outbox.flush()
		done.Wait()
		// A request takes 35 bytes, a reply 20: with the ACKs that is two packets.
		for _, n := range []struct {
			what string
			got  uint64
		}{
			{"requests", s.conn.Stats().Sent - sent},
			{"replies", of.conn.Stats().Sent - answered},
		} {
			if n.got > 6 {
				t.Errorf("%d %s took %d packets, want 6 at most", calls, n.what, n.got)
			}
		}
	})
}

// TestAnOutboxIsBounded checks that a full outbox is flushed although another goroutine is about to flush it.
func TestAnOutboxIsBounded(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		s := w.quiet("web", Limits{}).connect(server)
		mustEcho(t, s)
		s.outbox.hold()
		var done sync.WaitGroup
		for range 80 {
			done.Go(func() {
				s.outbox.mu.Lock()
				s.outbox.led = true
				s.outbox.mu.Unlock()
				if _, _, err := call(t.Context(), s, "echo", strings.Repeat("m", 1100)); err != nil {
					t.Error(err)
				}
			})
		}
		settle()
		s.outbox.mu.Lock()
		waiting := len(s.outbox.bytes)
		s.outbox.mu.Unlock()
		if waiting > outboxBytes || server.handler.count("echo") < 50 {
			t.Errorf("%d bytes wait, and %d calls were served", waiting, server.handler.count("echo"))
		}
		s.outbox.flush()
		done.Wait()
		s.outbox.writing.Lock()
		defer s.outbox.writing.Unlock()
		if n := cap(s.outbox.spareBytes); n > outboxKeep {
			t.Errorf("a buffer of %d bytes is kept", n)
		}
	})
}

// TestWhoIsAloneDoesNotWait checks that a caller that makes one call after the other yields less and less often.
func TestWhoIsAloneDoesNotWait(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		s := w.quiet("web", Limits{}).connect(server)
		last, yields := int32(0), 0
		for range 2 * outboxProbe {
			before := s.outbox.direct.Load()
			mustEcho(t, s)
			if before <= 0 {
				yields++
				last = s.outbox.alone
			}
		}
		if last != outboxProbe || yields > 10 {
			t.Errorf("of %d calls %d waited for others, at last one in %d", 2*outboxProbe, yields, last)
		}
	})
}

// TestAQueuedReplyComesBeforeTheEnd checks that a queued reply arrives on a stream that the peer has already ended.
func TestAQueuedReplyComesBeforeTheEnd(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("web", server)
		server.taken(t).outbox.hold()
		st := r.stream(callStream(wire.StreamCalls, "echo", time.Second, "last words"))
		st.Finish()
		if got := st.reply(); got.err != nil || got.message != "last words" {
			t.Fatalf("%+v", got)
		}
		if _, clean := st.ended(); !clean {
			t.Error("the stream was reset")
		}
	})
}

// TestQueuedRepliesKeepTheirOrder has a peer pipeline its calls. Large replies are not queued, small ones are.
func TestQueuedRepliesKeepTheirOrder(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("web", server)
		of := server.taken(t)
		st := r.stream(calls())
		for i := range 20 {
			of.outbox.hold()
			message := fmt.Sprint(i)
			if i%3 == 2 {
				message = strings.Repeat("m", 3<<10)
			}
			st.write(callFrames("echo", time.Second, message))
		}
		settle()
		of.outbox.flush()
		for i := range 20 {
			want := fmt.Sprint(i)
			if i%3 == 2 {
				want = strings.Repeat("m", 3<<10)
			}
			if got := st.reply(); got.err != nil || got.message != want {
				t.Fatalf("reply %d: %+v", i, got)
			}
		}
	})
}

// TestAPatternOnACallsStreamIsRefused checks also that the reply to the call before the pattern still arrives.
func TestAPatternOnACallsStreamIsRefused(t *testing.T) { // SEC-324
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		server.handler.onStream("stream", func(s *Stream) {
			t.Error("the handler ran")
			s.Finish(&wire.Status{})
		})
		r := w.client("web", server)
		server.taken(t).outbox.hold()
		st := r.stream(join(calls(), callFrames("echo", time.Second, "first"), headers("stream", time.Second)))
		if got := st.reply(); got.err != nil || got.message != "first" {
			t.Errorf("the call: %+v", got)
		}
		st.mustReset(wire.CodeProtocol)
		r.stream(join(calls(), headers("stream", time.Second))).mustReset(wire.CodeProtocol)
	})
}

// TestAQueuedReplyComesBeforeAReset has the handler of the next call end its goroutine, which resets the stream.
func TestAQueuedReplyComesBeforeAReset(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		server.handler.onCall("exit", func(*Call) { runtime.Goexit() })
		r := w.client("web", server)
		server.taken(t).outbox.hold()
		st := r.stream(join(calls(), callFrames("echo", time.Second, "first"), callFrames("exit", time.Second, "")))
		if got := st.reply(); got.err != nil || got.message != "first" {
			t.Errorf("the call: %+v", got)
		}
		st.mustReset(wire.CodeInternal)
	})
}

// TestACallThatNeverLeftIsNotProcessed ends the connection while a request is queued, and expects NotProcessed.
func TestACallThatNeverLeftIsNotProcessed(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		s := w.quiet("web", Limits{}).connect(server)
		mustEcho(t, s)
		s.outbox.hold()
		failed := make(chan error, 1)
		go func() {
			_, _, err := call(t.Context(), s, "echo", "q")
			failed <- err
		}()
		settle()
		if n := s.outbox.waiting(); n != 1 {
			t.Fatalf("%d requests wait, want 1", n)
		}
		s.conn.Close(0, "")
		if e := failure(t, <-failed, ReasonLost); !e.NotProcessed {
			t.Errorf("%v: it may have run, it says", e)
		}
		if n := server.handler.count("echo"); n != 1 {
			t.Errorf("%d calls ran, want 1", n)
		}
	})
}

// TestAQueuedRequestOfACanceledCallIsDropped cancels a call while its request is queued. The stream is dropped, too.
func TestAQueuedRequestOfACanceledCallIsDropped(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		s := w.quiet("web", Limits{}).connect(server)
		mustEcho(t, s)
		s.outbox.hold()
		_, _, err := callWithin(t.Context(), s, 50*time.Millisecond, "echo", "q")
		if e := failure(t, err, ReasonCanceled); !e.NotProcessed {
			t.Errorf("%v: it may have run, it says", e)
		}
		mustEcho(t, s)
		if n := server.handler.count("echo"); n != 2 {
			t.Errorf("%d calls ran, want 2", n)
		}
	})
}

// queuedReplies returns a node with three replies on a stream whose peer makes no room: the
// first has left, the second is with quic-go, and the third waits for the second to leave.
func (w *world) queuedReplies(timeout time.Duration) (*node, *raw, *rawStream) {
	server := w.node("orders", Limits{})
	server.handler.onCall("kilo", func(c *Call) { answer(c, strings.Repeat("k", 1000)) })
	r := w.narrow("slow", server, 1500)
	box := &server.taken(w.t).outbox
	st := r.stream(calls())
	box.hold()
	st.write(bytes.Repeat(callFrames("kilo", timeout, ""), 3))
	settle()
	box.flush()
	return server, r, st
}

// TestAQueuedReplyWaitsForRoom has a peer make room later, and expects no delay on its other streams.
func TestAQueuedReplyWaitsForRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, r, st := w.queuedReplies(time.Minute)
		settle()
		if n := server.Active(); n != 1 {
			t.Errorf("%d calls are active, want 1: a drain would not wait for the reply", n)
		}
		other := r.stream(callStream(wire.StreamCalls, "echo", time.Minute, "beside it"))
		if got := other.reply(); got.err != nil || got.message != "beside it" {
			t.Errorf("the call beside it: %+v", got)
		}
		for i := range 3 {
			if got := st.reply(); got.err != nil || len(got.message) != 1000 {
				t.Errorf("reply %d: %d bytes, %v", i, len(got.message), got.err)
			}
		}
		settle()
		if n := server.Active(); n != 0 {
			t.Errorf("%d calls are active at the end", n)
		}
	})
}

// TestAQueuedReplyGivesUp checks that a reply is dropped if the peer makes no room for it by the deadline.
func TestAQueuedReplyGivesUp(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, r, st := w.queuedReplies(5 * time.Second)
		pass(4 * time.Second)
		if n := server.Active(); n != 1 {
			t.Errorf("%d calls are active before the deadline, want 1", n)
		}
		pass(2 * time.Second)
		if n := server.Active(); n != 0 {
			t.Errorf("%d calls are active after the deadline", n)
		}
		st.mustReset(wire.CodeLimit)
		r.mustEcho()
	})
}

// TestAQueuedRequestWaitsForRoom checks that a request waits until the peer makes room or the call is canceled.
func TestAQueuedRequestWaitsForRoom(t *testing.T) {
	for _, test := range []struct {
		name    string
		timeout time.Duration
		want    Reason // 0 if the call is answered
	}{
		{"answered", time.Minute, 0},
		{"out of time", 5 * time.Second, ReasonCanceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				read := make(chan struct{})
				server := w.rawServer("orders", serving(func(s *rawStream) {
					<-read
					for n := 0; ; n++ {
						message, err := s.request(n == 0)
						if err != nil {
							return
						}
						s.say(data(fmt.Sprint(len(message))), wire.AppendOK(nil, oddOf(n)))
					}
				}))
				s, err := w.quiet("web", Limits{}).dial(server)
				if err != nil {
					t.Fatal(err)
				}
				var done sync.WaitGroup
				done.Go(func() { // the large call uses up all room of the connection
					got, _, err := callWithin(t.Context(), s, time.Minute, "any", strings.Repeat("m", 3<<20))
					if err != nil || got != fmt.Sprint(3<<20) {
						t.Errorf("the large call: %q, %v", got, err)
					}
				})
				settle()
				s.outbox.hold()
				done.Go(func() {
					got, _, err := callWithin(t.Context(), s, test.timeout, "any", "small")
					if test.want != 0 {
						mustFail(t, err, test.want)
					} else if err != nil || got != "5" {
						t.Errorf("the small call: %q, %v", got, err)
					}
				})
				settle()
				if n := s.outbox.flush(); n != 1 {
					t.Errorf("%d requests waited, want 1", n)
				}
				pass(10 * time.Second)
				close(read)
				done.Wait()
				if got, _, err := call(t.Context(), s, "any", "afterwards"); err != nil || got != "10" {
					t.Errorf("the call afterwards: %q, %v", got, err)
				}
			})
		})
	}
}

func TestTheOutboxAdapts(t *testing.T) {
	for _, test := range []struct {
		name   string
		writes int
		took   time.Duration
		before int32
		want   int32
	}{
		{"alone", 1, 0, 0, 1},
		{"alone again", 1, 0, 1, 3},
		{"alone for long", 1, 0, 200, outboxProbe},
		{"together", 2, 0, 200, 0},
		{"flushed by another", 0, 0, 200, 0},
		{"many callers", 100, 5 * time.Millisecond, 0, 0},
		{"as late as many may be", 100, 100 * outboxPace, 0, 0},
		{"busy handlers", 100, 100*outboxPace + 1, 0, outboxProbe},
		{"one busy handler", 2, outboxPatience + 1, 0, outboxProbe},
		{"a moment", 2, outboxPatience, 0, 0},
	} {
		o := outbox{alone: test.before}
		o.adapt(test.writes, test.took)
		if got := o.direct.Load(); got != test.want || o.alone != test.want {
			t.Errorf("%s: %d writes go at once, and %d are noted, want %d", test.name, got, o.alone, test.want)
		}
	}
}
