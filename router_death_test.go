package link_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// load records the calls of callers that call as fast as they can.
type load struct {
	mu    sync.Mutex // guards the fields below
	done  []time.Time
	worst time.Duration
	errs  []error

	stop atomic.Bool
	wg   sync.WaitGroup
}

var callers = race.Fewer(8, 3)

func startLoad(t *testing.T, call func(ctx context.Context) error) *load {
	t.Helper()
	l := new(load)
	for range callers {
		l.wg.Go(func() {
			for !l.stop.Load() {
				start := time.Now()
				err := call(t.Context())
				l.note(start, err)
			}
		})
	}
	return l
}

func (l *load) note(start time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.worst = max(l.worst, now.Sub(start))
	if l.done = append(l.done, now); err != nil {
		l.errs = append(l.errs, err)
	}
}

func (l *load) end() {
	l.stop.Store(true)
	l.wg.Wait()
}

// between returns the number of calls that ended at or after from and before to.
func (l *load) between(from, to time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.done {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// deaths are the ways in which a server stops answering.
var deaths = []struct {
	name string
	die  func(m *linktest.Mesh, client, server *link.Node)
}{
	{"killed", func(m *linktest.Mesh, _, server *link.Node) { m.Crash(server) }},
	{"its host lost", func(m *linktest.Mesh, _, server *link.Node) { m.Kill(server) }},
	{"frozen", func(m *linktest.Mesh, client, server *link.Node) { m.Partition(client, server) }},
}

// TestReadOnlyCallsOutliveTheirServer has one of three servers stop answering under load,
// and expects no call to fail. Time is virtual, so the bounds are exact.
func TestReadOnlyCallsOutliveTheirServer(t *testing.T) {
	for _, death := range deaths {
		t.Run(death.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond/2))
				servers := make([]*link.Node, 3)
				for i := range servers {
					servers[i] = mesh.Node(link.Config{Service: "orders"})
					reqrep.Handle(servers[i], getOrder, func(_ context.Context, q orderQuery) (order, error) {
						sleep(4 * time.Millisecond)
						return order{ID: q.ID}, nil
					})
					mesh.Start(servers[i])
				}
				client := mesh.Node(link.Config{})
				l := startLoad(t, func(ctx context.Context) error {
					_, err := reqrep.Call(ctx, client, getOrder, orderQuery{ID: "o"})
					return err
				})
				sleep(3*time.Second + 700*time.Microsecond)
				before := time.Now()
				death.die(mesh, client, servers[0])
				sleep(4 * time.Second)
				l.end()
				for _, err := range l.errs {
					t.Errorf("a call that changes nothing failed: %v", err)
				}
				if l.worst > 500*time.Millisecond {
					t.Errorf("the worst call took %v, want 500 ms at most", l.worst)
				}
				was := l.between(before.Add(-time.Second), before)
				for second := 1; second < 4; second++ {
					from := before.Add(time.Duration(second) * time.Second)
					if is := l.between(from, from.Add(time.Second)); is*10 < was*8 {
						t.Errorf("%d calls in second %d after it, %d in the one before it; want 80 %%", is, second, was)
					}
				}
				t.Logf("worst %v; calls per second %d, then %d, %d, %d, %d", l.worst, was, l.between(before, before.Add(time.Second)),
					l.between(before.Add(time.Second), before.Add(2*time.Second)), l.between(before.Add(2*time.Second), before.Add(3*time.Second)),
					l.between(before.Add(3*time.Second), before.Add(4*time.Second)))
			})
		})
	}
}

// TestUnsafeCallsOnALostServerEndSoon checks that calls in flight on a lost server end
// within a second, with an error that says that they may have run.
func TestUnsafeCallsOnALostServerEndSoon(t *testing.T) {
	for _, death := range deaths {
		t.Run(death.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond/2))
				server := orders(mesh, link.Config{}, func(ctx context.Context, o order) (order, error) {
					<-ctx.Done()
					return o, nil
				})
				client := mesh.Node(link.Config{})
				errs := make(chan error, callers)
				for range callers {
					go func() {
						_, err := reqrep.Call(t.Context(), client, putOrder, order{ID: "o"})
						errs <- err
					}()
				}
				sleep(time.Second)
				death.die(mesh, client, server)
				start := time.Now()
				for range callers {
					err := <-errs
					if !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), "may have run") {
						t.Errorf("the call ended with %v; want unavailable, and that it may have run", err)
					}
				}
				took := time.Since(start)
				if took > time.Second {
					t.Errorf("they ended after %v, want 1 s at most", took)
				}
				t.Logf("they ended after %v", took)
			})
		})
	}
}

// TestCallsGoOnInTheNextZone has the only instance of a zone stop answering, and expects calls
// to go on in the next zone, whether or not its instance has been called before.
func TestCallsGoOnInTheNextZone(t *testing.T) {
	for _, death := range deaths {
		for name, known := range map[string]bool{"known": true, "not known": false} {
			t.Run(death.name+", the next "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond/2))
					serve := func(zone string) *link.Node {
						n := mesh.Node(link.Config{Service: "orders", Tags: []string{"zone=" + zone, "region=eu"}})
						reqrep.Handle(n, getOrder, func(_ context.Context, q orderQuery) (order, error) {
							sleep(4 * time.Millisecond)
							return order{ID: q.ID}, nil
						})
						mesh.Start(n)
						return n
					}
					near, next := serve("a"), serve("b")
					client := mesh.Node(link.Config{Tags: []string{"zone=a", "region=eu"}, Routing: link.Routing{Topology: parse(t, `
version: link/v1
services: { orders: { failover: [zone, region] } }
`)}})
					if known {
						if _, err := reqrep.Call(t.Context(), client, getOrder, orderQuery{}, link.OnInstance(next.Instance())); err != nil {
							t.Fatal(err)
						}
					}
					l := startLoad(t, func(ctx context.Context) error {
						_, err := reqrep.Call(ctx, client, getOrder, orderQuery{ID: "o"})
						return err
					})
					sleep(3*time.Second + 700*time.Microsecond)
					before := time.Now()
					death.die(mesh, client, near)
					sleep(3 * time.Second)
					l.end()
					for _, err := range l.errs {
						t.Errorf("a call that changes nothing failed: %v", err)
					}
					if l.worst > 500*time.Millisecond {
						t.Errorf("the worst call took %v, want 500 ms at most", l.worst)
					}
					// A new dial to the silent instance has a quarter of a second, once for all calls.
					was, is := l.between(before.Add(-time.Second), before), l.between(before.Add(time.Second), before.Add(3*time.Second))/2
					if is*10 < was*8 {
						t.Errorf("%d calls a second after the first, %d in the one before; want 80 %%", is, was)
					}
					t.Logf("worst %v; calls per second %d, then %d", l.worst, was, is)
				})
			})
		}
	}
}

// TestCallsGoOnWhenTheNetworkIsBack checks that calls succeed within twice Limits.Silence after a partition heals, no matter
// how long it lasted and at what point of a dial it ended.
func TestCallsGoOnWhenTheNetworkIsBack(t *testing.T) {
	const most = time.Second
	all := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 60, 120, 300, 301, 302, 303, 304, 305}
	for _, away := range race.Fewer(all, []int{1, 6, 11, 60, 303}) {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
			servers := []*link.Node{ordersAt(mesh, "a"), ordersAt(mesh, "b")}
			client := mesh.Node(link.Config{})
			warm(t, client)
			for _, server := range servers {
				mesh.Partition(server, client)
			}
			var calls sync.WaitGroup
			send := func(note func(err error)) {
				calls.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					_, err := reqrep.Call(ctx, client, readOrder, order{ID: "o"})
					note(err)
				})
				sleep(25 * time.Millisecond)
			}
			for cut := time.Now(); time.Since(cut) < time.Duration(away)*time.Second+10*time.Millisecond; {
				send(func(error) {})
			}
			for _, server := range servers {
				mesh.Heal(server, client)
			}
			healed := time.Now()
			answered := make(chan time.Duration, 2*most/(25*time.Millisecond))
			for time.Since(healed) < 2*most {
				send(func(err error) {
					if err == nil {
						answered <- time.Since(healed)
					}
				})
			}
			calls.Wait()
			select {
			case took := <-answered:
				if took > most {
					t.Errorf("after %d s without a network it took %v to the first answer, want %v at most", away, took, most)
				}
			default:
				t.Errorf("after %d s without a network nobody has answered in %v", away, 2*most)
			}
		})
	}
}
