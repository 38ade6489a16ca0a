package link_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// burst sends rate calls a second for d, no matter how long they take, and returns how
// many it sent and how many of them failed. patience is the timeout of a call.
func burst(t *testing.T, client *link.Node, rate int, d, patience time.Duration) (sent, failed int) {
	t.Helper()
	var lost atomic.Int64
	var calls sync.WaitGroup
	for range int(d * time.Duration(rate) / time.Second) {
		sent++
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := reqrep.Call(ctx, client, readOrder, order{ID: "o"}); err != nil {
				lost.Add(1)
			}
		})
		sleep(time.Second / time.Duration(rate))
	}
	calls.Wait()
	return sent, int(lost.Load())
}

// TestASilentInstanceYieldsToAYoungOne has the older of two instances fall silent when
// the other one is only some seconds old.
func TestASilentInstanceYieldsToAYoungOne(t *testing.T) {
	for _, age := range []time.Duration{2 * time.Second, 8 * time.Second, 20 * time.Second} {
		t.Run(age.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const rate = 100
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				old := ordersAt(mesh, "old")
				client := mesh.Node(link.Config{})
				warm(t, client)
				sleep(time.Minute)
				ordersAt(mesh, "young")
				burst(t, client, rate, age, time.Second)
				mesh.Partition(old, client)
				sent, failed := burst(t, client, rate, 5*time.Second, time.Second)
				// Calls that are sent before the silence is detected may fail, and some probes.
				if most := int(rate*balance.SilenceFloor/time.Second) + 1 + 10; failed > most {
					t.Errorf("of the %d calls in the 5 s after the older one fell silent %d failed, want at most %d", sent, failed, most)
				}
			})
		})
	}
}

// TestAnInstanceThatIsBackIsCalledSoon has one of two instances fall silent for long
// enough to be ejected, and answer again. When the other one falls silent in turn, no
// read-only call may fail.
func TestAnInstanceThatIsBackIsCalledSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 100
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		a, b := ordersAt(mesh, "a"), ordersAt(mesh, "b")
		client := mesh.Node(link.Config{})
		warm(t, client)
		burst(t, client, rate, 10*time.Second, time.Second)
		mesh.Partition(a, client)
		burst(t, client, rate, 10*time.Second, time.Second)
		mesh.Heal(a, client)
		sleep(10 * time.Second)
		burst(t, client, rate, 10*time.Second, time.Second)
		if got := tally(t, client, 200); got["a"] < 50 {
			t.Errorf("20 s after it is back it answers %d of 200 calls", got["a"])
		}
		mesh.Partition(b, client)
		sent, failed := burst(t, client, rate, 10*time.Second, 10*time.Second)
		if failed > 0 {
			t.Errorf("when the other one fell silent, %d of %d calls failed", failed, sent)
		}
	})
}

// TestErrorsThatAHandlerMeansEjectNobody checks that only failures that the library itself
// sees count against an instance, not errors that a handler returns.
func TestErrorsThatAHandlerMeansEjectNobody(t *testing.T) {
	// errPlain reaches the caller as Internal.
	errPlain := errors.New("no code")
	for name, c := range map[string]struct {
		fail  func() error
		eject bool
	}{
		"internal":           {func() error { return link.Internal }, false},
		"data loss":          {func() error { return link.DataLoss }, false},
		"resource exhausted": {func() error { return link.ResourceExhausted }, false},
		"deadline exceeded":  {func() error { return link.DeadlineExceeded }, false},
		"unavailable":        {func() error { return link.Unavailable }, false},
		"an error":           {func() error { return errPlain }, false},
		"a panic":            {func() error { panic("broken") }, true}, //nolint:forbidigo // what is tested
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var bad atomic.Bool
				var runs atomic.Int64
				for range 2 {
					serveCopies(mesh, "orders", link.Config{}, func(_ context.Context, o order) (order, error) {
						if bad.Load() {
							runs.Add(1)
							return o, c.fail()
						}
						return o, nil
					})
				}
				client := mesh.Node(link.Config{})
				warm(t, client)
				bad.Store(true)
				for range 50 {
					if _, err := ask(t, client); err == nil {
						t.Fatal("a call succeeds")
					}
				}
				if got := client.Status().Services[0].Ejected; got > 0 != c.eject {
					t.Errorf("%d of 2 instances are ejected after %d errors", got, runs.Load())
				}
			})
		})
	}
}

// TestAnErrorSaysThatTheBudgetOfRetriesIsUsedUp checks that a caller can tell a used-up
// retry budget from a call that made all of its attempts.
func TestAnErrorSaysThatTheBudgetOfRetriesIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		for range 2 {
			serveCopies(mesh, "orders", link.Config{}, func(context.Context, order) (order, error) {
				return order{}, link.Unavailable
			})
		}
		client := mesh.Node(link.Config{})
		said := 0
		for range 100 {
			_, err := ask(t, client)
			var e *link.Error
			if !errors.As(err, &e) || e.Code != link.Unavailable {
				t.Fatalf("got %v, want unavailable", err)
			}
			budget := strings.Contains(e.Message, "the retries of calls to orders are limited to 20 % of the calls and 10 a second")
			if budget == (e.Attempt == 3) {
				t.Fatalf("after %d attempts: %v", e.Attempt, err)
			}
			if budget {
				said++
			}
		}
		if said == 0 {
			t.Error("100 calls that are all sent again did not use up the budget")
		}
	})
}

// TestStickyKeysStayWithAnInstanceThatIsNotBusy checks that a few calls in flight do not make an instance busy.
func TestStickyKeysStayWithAnInstanceThatIsNotBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		release := make(chan struct{})
		for range 3 {
			serveCopies(mesh, "orders", link.Config{}, func(ctx context.Context, o order) (order, error) {
				if o.ID == "long" {
					select {
					case <-release:
					case <-ctx.Done():
					}
				}
				return o, nil
			})
		}
		client := mesh.Node(link.Config{})
		warm(t, client)
		where := make(chan string, balance.LoadFloor)
		for range balance.LoadFloor {
			go func() {
				var who link.Peer
				if _, err := reqrep.Call(t.Context(), client, readOrder, order{ID: "long"}, link.Sticky("user 7"), link.AnsweredBy(&who)); err != nil {
					t.Error(err)
				}
				where <- who.Instance
			}()
			synctest.Wait()
		}
		close(release)
		got := make(map[string]int)
		for range balance.LoadFloor {
			got[<-where]++
		}
		if len(got) != 1 {
			t.Errorf("calls of one key, %d at a time, went to %v", balance.LoadFloor, fmt.Sprint(got))
		}
	})
}

// TestEqualsShareAlikeAfterAHiccup has one of two idle instances be slow for a while, and
// expects sequential calls to be shared equally soon after.
func TestEqualsShareAlikeAfterAHiccup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var pause atomic.Int64
		serveCopies(mesh, "orders", link.Config{Tags: []string{"a"}}, func(_ context.Context, o order) (order, error) {
			sleep(time.Duration(pause.Load()))
			return o, nil
		})
		ordersAt(mesh, "b")
		client := mesh.Node(link.Config{})
		warm(t, client)
		for _, slow := range []time.Duration{200 * time.Millisecond, 20 * time.Millisecond, 2 * time.Second}[:race.Fewer(3, 1)] {
			pause.Store(int64(slow))
			for begin := time.Now(); time.Since(begin) < 3*time.Second; {
				tally(t, client, 1)
			}
			pause.Store(0)
			for begin := time.Now(); time.Since(begin) < 5*time.Second; {
				tally(t, client, 1)
			}
			if got := tally(t, client, 400); got["a"] < 140 || got["b"] < 140 {
				t.Errorf("5 s after one took %v for each call: %v of 400 calls", slow, got)
			}
		}
	})
}

// TestALongNetworkHasTimeForItsProbes checks that, with a round trip of 100 ms, a peer whose last packets were
// lost three times in a row is not given up before QUIC has probed a fourth time.
func TestALongNetworkHasTimeForItsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(50*time.Millisecond))
		server := bothAt(mesh, func(_ context.Context, o order) (order, error) {
			sleep(2 * time.Second)
			return o, nil
		})
		client := mesh.Node(link.Config{})
		// The deviation of the round-trip times is small after these calls.
		for range 10 {
			warm(t, client)
		}
		done := make(chan error, 1)
		go func() {
			_, err := reqrep.Call(t.Context(), client, putOrder, order{ID: "o"})
			done <- err
		}()
		sleep(time.Second)
		mesh.Partition(server, client)
		sleep(1400 * time.Millisecond)
		mesh.Heal(server, client)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
