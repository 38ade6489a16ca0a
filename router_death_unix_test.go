//go:build unix

package link_test

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/child"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/security"
	"github.com/linkmesh/link/topology"
)

// TestReadOnlyCallsOutliveAProcess kills or freezes one of three processes under load, and expects no call to fail.
// Times are only logged: TestReadOnlyCallsOutliveTheirServer checks the bounds, in virtual time.
func TestReadOnlyCallsOutliveAProcess(t *testing.T) {
	for name, end := range map[string]func(p *child.Process){"killed": (*child.Process).Kill, "frozen": (*child.Process).Freeze} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
			t.Setenv("LINK_STATE_DIR", filepath.Join(t.TempDir(), "state"))
			var victim *child.Process
			instances := make([]discovery.Instance, 3)
			for i := range instances {
				instances[i] = discovery.Instance{ID: "orders-" + strconv.Itoa(i), Service: "orders", Addr: freeAddr(t)}
				victim = startServer(t, instances[i].Addr)
			}
			client := patientClient(t, link.Config{}, instances...)
			before, after := race.Fewer(3000, 600), race.Fewer(6000, 1200)
			answers := make(map[string]int)
			calls := make(chan string, callers)
			l := startLoad(t, func(ctx context.Context) error {
				var who link.Peer
				_, err := reqrep.Call(ctx, client, getOrder, orderQuery{ID: "o"}, link.AnsweredBy(&who))
				calls <- who.Addr
				return err
			})
			await := func(until func() bool) {
				for !until() {
					answers[<-calls]++
				}
			}
			await(func() bool { return len(answers) == 3 && total(answers) > before })
			began := l.longest()
			end(victim)
			died := time.Now()
			clear(answers)
			await(func() bool { return total(answers) > after })
			took := time.Since(died)
			endLoad(t, l, calls)
			t.Logf("longest call %v before, %v after; %d calls took %v", began.Round(time.Millisecond), l.longest().Round(time.Millisecond), after, took.Round(time.Millisecond))
		})
	}
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// TestReadOnlyCallsOutliveAFreezeOfAll freezes both processes until their connections are given up, thaws them, and expects
// no call to fail. Times are only logged. A call may lose an attempt to the doubt about one process, a second one when the
// other is given up, and a third one back at the first, which is in doubt but better than none until it is given up, too.
// From then on it waits for a connection, so it needs a fourth attempt, one more than the default.
func TestReadOnlyCallsOutliveAFreezeOfAll(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	t.Setenv("LINK_STATE_DIR", filepath.Join(t.TempDir(), "state"))
	var processes []*child.Process
	instances := make([]discovery.Instance, 2)
	for i := range instances {
		instances[i] = discovery.Instance{ID: "orders-" + strconv.Itoa(i), Service: "orders", Addr: freeAddr(t)}
		processes = append(processes, startServer(t, instances[i].Addr))
	}
	client := patientClient(t, link.Config{
		Limits:  link.Limits{DialTimeout: time.Minute},
		Routing: link.Routing{Topology: &topology.Document{Defaults: topology.Defaults{Retry: topology.Retry{Attempts: 4}}}},
	}, instances...)
	answers := make(chan string, callers)
	l := startLoad(t, func(ctx context.Context) error {
		var who link.Peer
		_, err := reqrep.Call(ctx, client, getOrder, orderQuery{ID: "o"}, link.AnsweredBy(&who))
		answers <- who.Addr
		return err
	})
	// await returns once the given number of calls have ended and both processes have answered some of them.
	await := func(calls int) {
		for seen := make(map[string]int); len(seen) < 2 || total(seen) < calls; {
			seen[<-answers]++
		}
	}
	each := func(do func(p *child.Process)) {
		for _, p := range processes {
			do(p)
		}
	}
	for range race.Fewer(3, 1) {
		// These calls also earn the retries of the calls that are in flight during the freeze.
		await(race.Fewer(3000, 600))
		frozen := time.Now()
		each((*child.Process).Freeze)
		for client.Status().Services[0].Connected > 0 {
			sleep(5 * time.Millisecond)
		}
		gone := time.Since(frozen)
		each((*child.Process).Thaw)
		thawed := time.Now()
		await(2 * callers)
		t.Logf("given up after %v; %v after they went on both answer; the longest call took %v",
			gone.Round(time.Millisecond), time.Since(thawed).Round(time.Millisecond), l.longest().Round(time.Millisecond))
	}
	endLoad(t, l, answers)
}

// endLoad stops the callers, discards their last answers, and fails the test if a call failed.
func endLoad(t *testing.T, l *load, answers chan string) {
	t.Helper()
	go func() {
		for range answers { // lets the last callers finish
		}
	}()
	l.end()
	close(answers)
	for _, err := range l.errs {
		t.Errorf("a call that changes nothing failed: %v", err)
	}
}
