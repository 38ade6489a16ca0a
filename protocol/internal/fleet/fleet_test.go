package fleet_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/protocol/internal/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnInstanceHasOneStreamAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t)
		joined := p.update("s", "a")
		if len(joined) != 1 || joined[0] != p.member("a") {
			t.Errorf("joined %v", joined)
		}
		p.want("meet a", "open a")
		for _, err := range []error{errLost, nil} {
			p.end("a", err)
			p.want()
			sleep(time.Second)
			p.want("open a")
		}
		if joined := p.update("s", "a"); len(joined) != 0 {
			t.Errorf("joined again: %v", joined)
		}
		p.want()
	})
}

// TestAnInstanceThatVanishesIsAttendedToItsEnd checks that the stream to an instance that is not
// listed any more goes on, and that the member is removed when it has ended.
func TestAnInstanceThatVanishesIsAttendedToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t)
		p.update("s", "a", "b")
		first := p.member("a")
		synctest.Wait()
		p.log = nil
		p.update("s", "b")
		p.update("s", "b")
		p.want("vanish a")
		if !first.Vanished() || p.member("a") != first || p.member("b").Vanished() {
			t.Errorf("a has vanished: %t, b has vanished: %t", first.Vanished(), p.member("b").Vanished())
		}
		sleep(time.Hour)
		p.want()
		p.end("a", nil)
		p.want("part a", "end a")
		if end := p.ends["a"]; end != (fleet.End{Vanished: true, Left: 1}) || !slices.Equal(p.ids(), []string{"b"}) {
			t.Errorf("its end is %+v, %q are left", end, p.ids())
		}
		p.update("s", "a", "b")
		p.want("meet a", "open a")
		if p.member("a") == first {
			t.Error("the instance has the member that was removed")
		}
	})
}

// TestAnInstanceThatVanishesWhileItIsLostIsTriedOnceMore checks that a member that pauses when its
// instance vanishes makes one more attempt: the instance may have something left to say.
func TestAnInstanceThatVanishesWhileItIsLostIsTriedOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t)
		p.update("s", "a")
		synctest.Wait()
		p.end("a", errLost)
		synctest.Wait()
		p.log = nil
		p.update("s")
		p.want("vanish a")
		sleep(time.Second)
		p.want("open a")
		p.end("a", errLost)
		p.want("part a", "end a")
	})
}

func TestAnInstanceThatComesBackInTimeKeepsItsMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t)
		p.update("s", "a")
		first := p.member("a")
		synctest.Wait()
		p.log = nil
		p.update("s")
		p.update("s", "a")
		p.update("s", "a")
		p.want("vanish a", "return a")
		if first.Vanished() || p.member("a") != first {
			t.Error("it has vanished, or another member has its place")
		}
		p.end("a", errLost)
		sleep(time.Second)
		p.want("open a")
	})
}

// TestAnInstanceMayStayWithoutAList checks members that the owner keeps, and adds, whatever the list shows.
func TestAnInstanceMayStayWithoutAList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t)
		p.stays = true
		p.Lock()
		own := &ship{Life: fleet.Life{ID: "own", Service: "s"}}
		p.Join(own)
		p.Join(&ship{Life: fleet.Life{ID: "own", Service: "s"}})
		p.Unlock()
		p.want("open own")
		p.update("s", "a")
		p.want("meet a", "vanish own", "open a")
		if own.Vanished() || p.member("own") != own {
			t.Error("it has vanished, or another member has its place")
		}
		p.end("own", errLost)
		sleep(time.Second)
		p.want("open own")
		p.stays = false
		p.update("s", "a")
		p.end("own", nil)
		p.want("vanish own", "part own", "end own")
	})
}

// TestAListIsOfOneService checks that a list says nothing about the instances of other services.
func TestAListIsOfOneService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t)
		p.update("s", "a")
		p.update("other", "b")
		synctest.Wait()
		p.log = nil
		p.update("other")
		p.want("vanish b")
		p.update("s")
		p.want("vanish a")
	})
}

// TestTheLastThatIsStoppedIsKnown stops members one by one, and expects that each end tells how many are left.
func TestTheLastThatIsStoppedIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t)
		p.judge = func(*ship, error, int) fleet.Verdict { return fleet.Verdict{Stop: true} }
		all := []string{"a", "b", "c"}
		p.update("s", all...)
		synctest.Wait()
		for i, id := range all {
			p.log = nil
			p.end(id, errLost)
			p.want("end " + id)
			if end := p.ends[id]; end != (fleet.End{Err: errLost, Left: 2 - i}) || p.member(id) != nil {
				t.Errorf("the end of %s is %+v", id, end)
			}
		}
		p.update("s", "a")
		p.want("meet a", "open a")
	})
}

// TestAnAttemptThatWasNoneIsNoFailure checks that the next attempt follows at once, and that the row of
// failures neither grows nor ends.
func TestAnAttemptThatWasNoneIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t)
		var rows []int
		p.judge = func(m *ship, _ error, failures int) fleet.Verdict {
			rows = append(rows, failures)
			return fleet.Verdict{AtOnce: m.attempts.Load()%2 == 0}
		}
		p.open = func(ctx context.Context, m *ship) error {
			if m.attempts.Load() < 7 {
				return errLost
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}
		p.update("s", "a")
		sleep(time.Minute)
		p.want("meet a")
		if want := []int{1, 2, 2, 3, 3, 4}; !slices.Equal(rows, want) {
			t.Errorf("the failures in a row are %v, want %v", rows, want)
		}
	})
}

// TestNothingHappensAfterTheEnd checks that a fleet that ends waits for its members, whatever they do, and
// judges and removes none; and that later members are not attended.
func TestNothingHappensAfterTheEnd(t *testing.T) {
	for name, setUp := range map[string]func(p *port){
		"while a stream is open":     func(*port) {},
		"while it pauses":            func(p *port) { p.end("a", errLost) },
		"while a vanished one is on": func(p *port) { p.update("s") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPort(t)
				p.update("s", "a")
				synctest.Wait()
				setUp(p)
				synctest.Wait()
				p.judge = func(m *ship, err error, _ int) fleet.Verdict {
					t.Errorf("%s is judged by %v", m.ID, err)
					return fleet.Verdict{}
				}
				p.log = nil
				began := time.Now()
				p.close()
				if d := time.Since(began); d != 0 {
					t.Errorf("it took %v", d)
				}
				p.want("end a")
				if p.ends["a"] != (fleet.End{}) || !slices.Equal(p.ids(), []string{"a"}) {
					t.Errorf("the end is %+v, the members are %q", p.ends["a"], p.ids())
				}
				p.stays = true
				p.update("s", "a", "late")
				sleep(time.Minute)
				if p.member("late") == nil || p.member("late").attempts.Load() != 0 {
					t.Error("a late member is attended, or is none")
				}
			})
		})
	}
}

// TestManyListsAtATime has several goroutines apply lists of their services while streams come and go, and
// expects that no instance ever has two streams, and that each that is listed in the end has a member.
func TestManyListsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPort(t)
		const services, instances, rounds = 4, 8, 200
		var streams [services * instances]atomic.Int64
		p.open = func(ctx context.Context, m *ship) error {
			var at int
			if _, err := fmt.Sscan(m.ID, &at); err != nil {
				t.Error(err)
			}
			if n := streams[at].Add(1); n != 1 {
				t.Errorf("%s has %d streams", m.ID, n)
			}
			defer streams[at].Add(-1)
			select {
			case <-time.After(time.Duration(at+1) * 7 * time.Millisecond):
				return errLost
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		var calm atomic.Bool
		p.judge = func(m *ship, _ error, failures int) fleet.Verdict {
			return fleet.Verdict{Stop: failures%5 == 4 && !calm.Load(), AtOnce: failures%3 == 2 && m.attempts.Load()%2 == 0}
		}
		var lists sync.WaitGroup
		for s := range services {
			lists.Go(func() {
				for round := range rounds {
					var ids []string
					for i := range instances {
						if (round*(i+3)+s)%5 != 0 {
							ids = append(ids, fmt.Sprint(s*instances+i))
						}
					}
					p.update(fmt.Sprint(s), ids...)
					sleep(time.Duration(s+3) * 5 * time.Millisecond)
				}
			})
		}
		lists.Wait()
		calm.Store(true)
		synctest.Wait()
		for s := range services {
			var all []string
			for i := range instances {
				all = append(all, fmt.Sprint(s*instances+i))
			}
			p.update(fmt.Sprint(s), all...)
		}
		sleep(time.Minute)
		if got := len(p.ids()); got != services*instances {
			t.Errorf("%d members, want one of each of %d instances", got, services*instances)
		}
	})
}
