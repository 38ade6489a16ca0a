package carriertest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

func bytesArriveBeforeTheEnd(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	write(t, here, "all of it")
	here.Finish()
	if text, err := rest(there); text != "all of it" || !errors.Is(err, io.EOF) {
		t.Errorf("read %q, then %v", text, err)
	}
	// The other direction goes on.
	write(t, there, "answer")
	if got := read(t, here, 6); got != "answer" {
		t.Errorf("the answer is %q", got)
	}
}

func finishedTakesNoMore(t *testing.T, dialer, acceptor carrier.Conn) {
	here, _ := stream(t, dialer, acceptor)
	if err := here.Cause(); err != nil || here.Context().Err() != nil {
		t.Errorf("a stream that goes on has ended: %v", err)
	}
	here.Finish()
	if err := here.Cause(); here.Context().Err() == nil || !errors.Is(err, carrier.ErrFinished) {
		t.Errorf("the context of a finished stream has ended with %v", err)
	}
	if err := here.TryWrite([]byte("x")); !errors.Is(err, carrier.ErrFinished) {
		t.Errorf("TryWrite: %v", err)
	}
	if _, err := here.Write([]byte("x")); !errors.Is(err, carrier.ErrFinished) {
		t.Errorf("Write: %v", err)
	}
}

func markedArrives(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	write(t, here, "status")
	here.MarkReliable()
	write(t, here, " and more")
	here.CancelWrite(wire.CodeCanceled)
	settle()
	text, err := rest(there)
	if !strings.HasPrefix(text, "status") {
		t.Errorf("read %q, want what was marked", text)
	}
	mustReset(t, "the end", err, carrier.ResetError{Code: wire.CodeCanceled, Remote: true})
}

func firstCodeCounts(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	here.CancelWrite(wire.CodeLimit)
	here.CancelWrite(wire.CodeIdle)
	mustReset(t, "a write behind a reset", here.TryWrite([]byte("x")), carrier.ResetError{Code: wire.CodeLimit})
	mustReset(t, "why the stream has ended", here.Cause(), carrier.ResetError{Code: wire.CodeLimit})
	_, err := rest(there)
	mustReset(t, "the end", err, carrier.ResetError{Code: wire.CodeLimit, Remote: true})

	here, there = stream(t, dialer, acceptor)
	here.CancelRead(wire.CodeLimit)
	here.CancelRead(wire.CodeIdle)
	_, err = here.Read(make([]byte, 1))
	mustReset(t, "a read behind CancelRead", err, carrier.ResetError{Code: wire.CodeLimit})
	settle()
	mustReset(t, "a write to a peer that does not read", there.TryWrite([]byte("x")), carrier.ResetError{Code: wire.CodeLimit, Remote: true})
}

func canceledReading(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	waiting := after(t, "a read that was canceled", func() error {
		_, err := here.Read(make([]byte, 1))
		return err
	})
	settle()
	here.CancelRead(wire.CodeCanceled)
	mustReset(t, "the read", waiting(), carrier.ResetError{Code: wire.CodeCanceled})
	select {
	case <-there.Context().Done():
	case <-time.After(time.Second):
		t.Error("the context of the other side goes on")
	}
	want := carrier.ResetError{Code: wire.CodeCanceled, Remote: true}
	mustReset(t, "why it has ended", there.Cause(), want)
	_, err := there.Write([]byte("x"))
	mustReset(t, "a write", err, want)
	// The other direction goes on.
	write(t, here, "more")
	if got := read(t, there, 4); got != "more" {
		t.Errorf("read %q", got)
	}
}

func canceledWriting(t *testing.T, dialer, acceptor carrier.Conn) {
	here, _ := stream(t, dialer, acceptor)
	fill(t, here)
	waiting := after(t, "a write that was canceled", func() error {
		_, err := here.Write(make([]byte, 5000))
		return err
	})
	settle()
	here.CancelWrite(wire.CodeCanceled)
	mustReset(t, "the write", waiting(), carrier.ResetError{Code: wire.CodeCanceled})
}

func deadlineWakesReader(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	waiting := after(t, "a read whose deadline has passed", func() error {
		_, err := there.Read(make([]byte, 1))
		return err
	})
	settle()
	_ = there.SetReadDeadline(time.Now())
	mustTimeOut(t, "the read", waiting())
	_ = there.SetReadDeadline(time.Now().Add(time.Second))
	start := time.Now()
	_, err := there.Read(make([]byte, 1))
	mustTimeOut(t, "a read with a deadline", err)
	if took := time.Since(start); took < time.Second || took > 2*time.Second {
		t.Errorf("it took %v, want 1 s", took)
	}
	_ = there.SetReadDeadline(time.Time{})
	write(t, here, "late")
	if got := read(t, there, 4); got != "late" {
		t.Errorf("read %q after a deadline", got)
	}
}

func deadlineWakesWriter(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	sent := fill(t, here)
	waiting := after(t, "a write whose deadline has passed", func() error {
		_, err := here.Write(make([]byte, 5000))
		return err
	})
	settle()
	_ = here.SetWriteDeadline(time.Now())
	mustTimeOut(t, "the write", waiting())
	_ = here.SetWriteDeadline(time.Time{})
	read(t, there, sent)
	settle()
	write(t, here, "again")
}

func allOrNothing(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	sent := fill(t, here)
	if sent == 0 {
		t.Fatal("there is no room at all")
	}
	b := make([]byte, 2000)
	if err := here.TryWrite(b); !errors.Is(err, carrier.ErrWouldBlock) {
		t.Fatalf("a write without room: %v", err)
	}
	read(t, there, sent)
	_ = there.SetReadDeadline(time.Now().Add(time.Second))
	if n, err := there.Read(b); n != 0 {
		t.Errorf("%d bytes of a write that failed have arrived, %v", n, err)
	}
	_ = there.SetReadDeadline(time.Time{})
	// What was read makes room.
	if again := fill(t, here); again == 0 {
		t.Error("there is no room after all was read")
	}
}

func oneWriteAtATime(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	sent := fill(t, here)
	waiting := after(t, "a write that waited", func() error {
		_, err := here.Write([]byte(strings.Repeat("w", 5000)))
		return err
	})
	settle()
	if err := here.TryWrite([]byte("t")); !errors.Is(err, carrier.ErrWouldBlock) {
		t.Errorf("a write beside one that waits: %v", err)
	}
	read(t, there, sent)
	if got := read(t, there, 5000); got != strings.Repeat("w", 5000) {
		t.Error("the write that waited has not arrived as it was")
	}
	if err := waiting(); err != nil {
		t.Errorf("the write that waited: %v", err)
	}
}

func sharedWindow(t *testing.T, dialer, acceptor carrier.Conn) {
	var sent int
	var first carrier.Stream
	for range 64 {
		s := open(t, dialer)
		n := fill(t, s)
		if first == nil {
			first, sent = s, n
			continue
		}
		if n > 0 {
			continue
		}
		// s has a window of its own, but the connection has none left.
		read(t, accept(t, acceptor), sent)
		settle()
		write(t, s, "room")
		return
	}
	t.Error("64 streams that nobody reads do not fill the window of the connection")
}

func readingLetsGoOn(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	size := 3 * fill(t, here)
	got := after(t, "reading", func() int {
		text, _ := rest(there)
		return len(text)
	})
	if _, err := here.Write(make([]byte, size)); err != nil {
		t.Fatalf("a write of 3 windows: %v", err)
	}
	here.Finish()
	if n := got(); n != size+size/3 {
		t.Errorf("%d bytes have arrived, want %d", n, size+size/3)
	}
}

func writeCopies(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	b := []byte(strings.Repeat("a", 1000))
	for _, c := range []byte("abc") {
		for i := range b {
			b[i] = c
		}
		var err error
		if c == 'b' {
			_, err = here.Write(b)
		} else {
			err = here.TryWrite(b)
		}
		if err != nil {
			t.Fatal(err)
		}
		clear(b)
		if got := read(t, there, len(b)); got != strings.Repeat(string(c), len(b)) {
			t.Errorf("a buffer that was changed after the write has changed what arrived: %.20q", got)
		}
	}
}

func controlStream(t *testing.T, dialer, acceptor carrier.Conn) {
	for _, side := range []struct{ from, to carrier.Conn }{{dialer, acceptor}, {acceptor, dialer}} {
		s, err := side.from.OpenControl()
		if err != nil {
			t.Fatal(err)
		}
		write(t, s, "setup")
		r, err := side.to.AcceptUni(limit(t))
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, r, 5); got != "setup" {
			t.Errorf("read %q", got)
		}
	}
}

func arrivalsAreCounted(t *testing.T, dialer, acceptor carrier.Conn) {
	here, _ := stream(t, dialer, acceptor)
	settle()
	before, seen := dialer.Stats(), acceptor.Stats()
	write(t, here, "something")
	settle()
	if now := dialer.Stats(); now.Sent <= before.Sent {
		t.Errorf("packets sent: %d, and %d after a write", before.Sent, now.Sent)
	}
	if now := acceptor.Stats(); now.Received <= seen.Received {
		t.Errorf("packets received: %d, and %d after a write of the peer", seen.Received, now.Received)
	}
	if dialer.RemoteAddr().String() != acceptor.LocalAddr().String() || acceptor.RemoteAddr().String() != dialer.LocalAddr().String() {
		t.Errorf("%v calls its peer %v, which calls itself %v", dialer.LocalAddr(), dialer.RemoteAddr(), acceptor.LocalAddr())
	}
}

// canceled returns a context that ends after a second, with a cause of its own.
func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("a cause"))
	t.Cleanup(cancel)
	return ctx
}
