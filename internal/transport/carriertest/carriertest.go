// Package carriertest holds the promises of package carrier as tests, for every implementation.
package carriertest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
)

// Maker makes the two ends of a connection: the one that dialed, which may have streams streams open, and the one that
// accepted. It is called in a bubble of testing/synctest. When the test ends, nothing of the connection may run.
type Maker func(t *testing.T, streams int) (dialer, acceptor carrier.Conn)

// Test runs all tests on connections that pair makes.
func Test(t *testing.T, pair Maker) {
	for _, test := range []struct {
		name    string
		streams int
		run     func(t *testing.T, dialer, acceptor carrier.Conn)
	}{
		{"opening a stream sends nothing", 8, openingSendsNothing},
		{"streams are accepted in order", 8, acceptedInOrder},
		{"a stream that was reset at once is accepted", 8, acceptedWhenReset},
		{"accepting ends with its context", 8, acceptEnds},
		{"opening waits in order and is not overtaken", 2, openWaitsInOrder},
		{"opening ends with its context", 1, openEnds},
		{"credit returns once, when a stream is over and released", 1, creditReturns},
		{"bytes arrive before the end", 8, bytesArriveBeforeTheEnd},
		{"a finished stream takes no more", 8, finishedTakesNoMore},
		{"what is marked arrives before the reset", 8, markedArrives},
		{"the first code counts", 8, firstCodeCounts},
		{"reading that is canceled fails at once", 8, canceledReading},
		{"writing that is canceled fails at once", 8, canceledWriting},
		{"a deadline wakes a reader", 8, deadlineWakesReader},
		{"a deadline wakes a writer", 8, deadlineWakesWriter},
		{"a write that must not wait takes all or nothing", 8, allOrNothing},
		{"a write that must not wait does not wait for another", 8, oneWriteAtATime},
		{"streams share the window of the connection", 64, sharedWindow},
		{"reading lets the peer go on", 8, readingLetsGoOn},
		{"a write copies", 8, writeCopies},
		{"a control stream has one direction", 8, controlStream},
		{"what arrives is counted", 8, arrivalsAreCounted},
		{"closing ends everything, with a reason", 2, closingEndsEverything},
		{"a context ends after all that fails because of it", 8, contextEndsLast},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dialer, acceptor := pair(t, test.streams)
				test.run(t, dialer, acceptor)
			})
		})
	}
}

// settle waits for longer than anything takes to arrive.
func settle() {
	<-time.After(time.Second)
	synctest.Wait()
}

// limit returns a context for what must happen soon.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func open(t *testing.T, c carrier.Conn) carrier.Stream {
	t.Helper()
	s, err := c.TryOpen()
	if err != nil {
		t.Fatalf("opening a stream: %v", err)
	}
	return s
}

func accept(t *testing.T, c carrier.Conn) carrier.Stream {
	t.Helper()
	s, err := c.Accept(limit(t))
	if err != nil {
		t.Fatalf("accepting a stream: %v", err)
	}
	return s
}

// stream opens a stream and returns both ends.
func stream(t *testing.T, dialer, acceptor carrier.Conn) (here, there carrier.Stream) {
	t.Helper()
	here = open(t, dialer)
	write(t, here, "0")
	there = accept(t, acceptor)
	if got := read(t, there, 1); got != "0" {
		t.Fatalf("the first byte is %q", got)
	}
	return here, there
}

func write(t *testing.T, s carrier.Sender, text string) {
	t.Helper()
	if err := s.TryWrite([]byte(text)); err != nil {
		t.Fatalf("writing: %v", err)
	}
}

// read reads n bytes.
func read(t *testing.T, s carrier.Receiver, n int) string {
	t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, n)
	if _, err := io.ReadFull(s, b); err != nil {
		t.Fatalf("reading: %v", err)
	}
	_ = s.SetReadDeadline(time.Time{})
	return string(b)
}

// rest reads to the end and returns what ended it.
func rest(s carrier.Receiver) (text string, end error) {
	var all strings.Builder
	b := make([]byte, 1000)
	for {
		n, err := s.Read(b)
		all.Write(b[:n])
		if err != nil {
			return all.String(), err
		}
	}
}

// fill writes until there is no more room, and returns how many bytes there was room for.
func fill(t *testing.T, s carrier.Sender) int {
	t.Helper()
	b := make([]byte, 1000)
	for n := 0; n < 1<<30; n += len(b) {
		switch err := s.TryWrite(b); {
		case errors.Is(err, carrier.ErrWouldBlock):
			return n
		case err != nil:
			t.Fatalf("writing: %v", err)
		}
	}
	t.Fatal("there is room for anything")
	return 0
}

// mustReset checks that err is a reset.
func mustReset(t *testing.T, what string, err error, want carrier.ResetError) {
	t.Helper()
	if got, ok := errors.AsType[*carrier.ResetError](err); !ok || *got != want {
		t.Errorf("%s: %v (%T), want %v", what, err, err, &want)
	}
}

// mustTimeOut checks that err is that of a deadline.
func mustTimeOut(t *testing.T, what string, err error) {
	t.Helper()
	if late, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); !ok || !late.Timeout() {
		t.Errorf("%s: %v (%T), want a timeout", what, err, err)
	}
}

// after returns what f returns, if it does within a second.
func after[T any](t *testing.T, what string, f func() T) (result func() T) {
	t.Helper()
	out := make(chan T, 1)
	go func() { out <- f() }()
	return func() T {
		t.Helper()
		select {
		case v := <-out:
			return v
		case <-time.After(time.Second):
			t.Fatalf("%s has not ended", what)
			panic("unreachable") //nolint:forbidigo // Fatalf does not return
		}
	}
}
