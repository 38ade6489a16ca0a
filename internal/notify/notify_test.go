package notify_test

import (
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link/internal/notify"
)

func set(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAFlagRemembersOneSignal(t *testing.T) {
	f := notify.NewFlag()
	if set(f) {
		t.Error("a new flag has a signal")
	}
	f.Set()
	f.Set()
	if !set(f) {
		t.Error("a signal before the wait is lost")
	}
	if set(f) {
		t.Error("two signals before the wait wake twice")
	}
	f.Set()
	f.Clear()
	f.Clear()
	if set(f) {
		t.Error("a cleared flag has a signal")
	}
}

func TestANilFlagIgnoresSignals(t *testing.T) {
	var f notify.Flag
	f.Set()
	f.Clear()
	if set(f) {
		t.Error("a nil flag has a signal")
	}
}

func TestABroadcastWakesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b notify.Broadcast
		b.All() // with nobody waiting
		woken := make(chan int, 3)
		for i := range 3 {
			c := b.C()
			go func() {
				<-c
				woken <- i
			}()
		}
		synctest.Wait()
		if len(woken) != 0 {
			t.Fatalf("%d waiters woke before the broadcast", len(woken))
		}
		b.All()
		synctest.Wait()
		if len(woken) != 3 {
			t.Errorf("%d waiters woke, want 3", len(woken))
		}
		if set(b.C()) {
			t.Error("a channel taken after the broadcast is closed")
		}
	})
}

func TestSignalsAllocateNothing(t *testing.T) {
	f := notify.NewFlag()
	var b notify.Broadcast
	if n := testing.AllocsPerRun(100, func() {
		f.Set()
		f.Clear()
		b.All()
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
