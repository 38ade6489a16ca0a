package carriertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

func openingSendsNothing(t *testing.T, dialer, acceptor carrier.Conn) {
	accepted := make(chan error, 1)
	go func() {
		_, err := acceptor.Accept(t.Context())
		accepted <- err
	}()
	s := open(t, dialer)
	settle()
	select {
	case err := <-accepted:
		t.Fatalf("a stream was accepted, %v, before anything was sent on it", err)
	default:
	}
	write(t, s, "x")
	settle()
	select {
	case err := <-accepted:
		if err != nil {
			t.Error(err)
		}
	default:
		t.Error("a stream with a byte was not accepted")
	}
}

func acceptedInOrder(t *testing.T, dialer, acceptor carrier.Conn) {
	var all []carrier.Stream
	for range 4 {
		all = append(all, open(t, dialer))
	}
	if !slices.IsSortedFunc(all, func(a, b carrier.Stream) int { return int(a.ID()) - int(b.ID()) }) || all[0].ID() == all[1].ID() {
		t.Error("later streams do not have larger numbers")
	}
	// The last one speaks first.
	for _, s := range slices.Backward(all) {
		write(t, s, "x")
	}
	for i, s := range all {
		if got := accept(t, acceptor).ID(); got != s.ID() {
			t.Errorf("stream %d accepted has number %d, want %d", i, got, s.ID())
		}
	}
}

func acceptedWhenReset(t *testing.T, dialer, acceptor carrier.Conn) {
	s := open(t, dialer)
	s.CancelWrite(wire.CodeCanceled)
	s.CancelRead(wire.CodeIdle)
	settle()
	there := accept(t, acceptor)
	_, err := there.Read(make([]byte, 1))
	mustReset(t, "a read", err, carrier.ResetError{Code: wire.CodeCanceled, Remote: true})
	mustReset(t, "a write", there.TryWrite([]byte("x")), carrier.ResetError{Code: wire.CodeIdle, Remote: true})
}

func acceptEnds(t *testing.T, _, acceptor carrier.Conn) {
	if _, err := acceptor.Accept(canceled(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := acceptor.AcceptUni(canceled(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("AcceptUni: %v", err)
	}
}

// over ends both directions of a stream, and has the peer notice.
func over(t *testing.T, here, there carrier.Stream) {
	t.Helper()
	here.Finish()
	there.Finish()
	if _, err := there.Read(make([]byte, 1)); err == nil {
		t.Error("there was more")
	}
	if _, err := here.Read(make([]byte, 1)); err == nil {
		t.Error("there was more")
	}
}

func openWaitsInOrder(t *testing.T, dialer, acceptor carrier.Conn) {
	type pair struct{ here, there carrier.Stream }
	var open []pair
	for range 2 {
		here, there := stream(t, dialer, acceptor)
		open = append(open, pair{here, there})
	}
	if _, err := dialer.TryOpen(); !errors.Is(err, carrier.ErrNoStream) {
		t.Fatalf("a third stream of 2: %v", err)
	}
	came := make(chan int, 2)
	for i := range 2 {
		go func() {
			if _, err := dialer.Open(t.Context()); err == nil {
				came <- i
			}
		}()
		settle()
	}
	for i, p := range open {
		over(t, p.here, p.there)
		p.there.ReleaseCredit()
		settle()
		select {
		case got := <-came:
			if got != i {
				t.Errorf("caller %d got a stream before caller %d", got, i)
			}
		default:
			t.Errorf("caller %d got no stream", i)
		}
		if _, err := dialer.TryOpen(); !errors.Is(err, carrier.ErrNoStream) {
			t.Errorf("TryOpen while %d wait: %v", 1-i, err)
		}
	}
}

func openEnds(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	ctx := canceled(t)
	if _, err := dialer.Open(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ctx.Err()) {
		t.Errorf("Open: %v, want the error of its context", err)
	}
	// A caller that has left takes no stream.
	over(t, here, there)
	there.ReleaseCredit()
	settle()
	open(t, dialer)
}

func creditReturns(t *testing.T, dialer, acceptor carrier.Conn) {
	none := func(when string) {
		t.Helper()
		settle()
		if _, err := dialer.TryOpen(); !errors.Is(err, carrier.ErrNoStream) {
			t.Errorf("%s: %v, want no stream", when, err)
		}
	}
	here, there := stream(t, dialer, acceptor)
	here.Finish()
	if _, err := there.Read(make([]byte, 1)); err == nil {
		t.Error("there was more")
	}
	there.ReleaseCredit()
	none("when one direction is over")
	there.Finish()
	settle()
	there.ReleaseCredit()
	here, there = stream(t, dialer, acceptor)
	there.CancelRead(wire.CodeCanceled)
	there.CancelWrite(wire.CodeCanceled)
	settle()
	here.CancelWrite(wire.CodeNone)
	if _, err := here.Read(make([]byte, 1)); err == nil {
		t.Error("there was more")
	}
	none("when both directions are over, and nothing was released")
	there.ReleaseCredit()
	settle()
	open(t, dialer)
	none("when two streams were released, and two opened")
}

func closingEndsEverything(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	other, _ := stream(t, dialer, acceptor)
	fill(t, other)
	waits := map[string]func() error{
		"a read": after(t, "a read", func() error {
			_, err := here.Read(make([]byte, 1))
			return err
		}),
		"a write": after(t, "a write", func() error {
			_, err := other.Write(make([]byte, 5000))
			return err
		}),
		"opening": after(t, "opening", func() error {
			_, err := dialer.Open(t.Context())
			return err
		}),
		"accepting": after(t, "accepting", func() error {
			_, err := dialer.AcceptUni(t.Context())
			return err
		}),
	}
	settle()
	if err := acceptor.Cause(); err != nil || acceptor.Context().Err() != nil {
		t.Errorf("a connection that goes on has ended: %v", err)
	}
	acceptor.Close(wire.CodeOverloaded, "too many")
	if acceptor.Context().Err() == nil {
		t.Error("Close has returned before the context has ended")
	}
	acceptor.Close(wire.CodeIdle, "again")
	ends := func(what string, err error, remote bool) {
		t.Helper()
		end, ok := errors.AsType[*carrier.EndError](err)
		if !ok || end.End != carrier.EndClosed || end.Code != wire.CodeOverloaded || end.Reason != "too many" || end.Remote != remote {
			t.Errorf("%s: %v (%T)", what, err, err)
		}
	}
	for what, err := range waits {
		ends(what, err(), true)
	}
	<-dialer.Context().Done()
	ends("the cause at the peer", dialer.Cause(), true)
	ends("the cause", acceptor.Cause(), false)
	_, err := there.Read(make([]byte, 1))
	ends("a read", err, false)
	ends("a write", there.TryWrite([]byte("x")), false)
	ends("why a stream has ended", there.Cause(), false)
	_, err = dialer.TryOpen()
	ends("opening", err, true)
	_, err = acceptor.Accept(t.Context())
	ends("accepting", err, false)
}

func contextEndsLast(t *testing.T, dialer, acceptor carrier.Conn) {
	here, there := stream(t, dialer, acceptor)
	failed := after(t, "looking", func() error {
		<-there.Context().Done()
		<-acceptor.Context().Done()
		_, err := there.Write([]byte("x"))
		return err
	})
	dialer.Close(wire.CodeNone, "bye")
	if err := failed(); !carrier.HasEnded(err) {
		t.Errorf("a write after the context has ended: %v", err)
	}
	if _, err := here.Read(make([]byte, 1)); !carrier.HasEnded(err) {
		t.Errorf("a read after Close: %v", err)
	}
	select {
	case <-here.Context().Done():
	case <-time.After(time.Second):
		t.Error("the context of a stream outlives its connection")
	}
}
