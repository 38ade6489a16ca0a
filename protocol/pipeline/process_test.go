package pipeline_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/protocol/pipeline"
)

// childEnv makes this program the child process of TestKillNine. Its value is the folder
// of a queue.
const childEnv = "LINK_PIPELINE_TEST_CHILD"

// In the child, pushers goroutines push. The first keyed of them have a key each.
const (
	pushers = 8
	keyed   = 4
)

// runChild pushes tasks through a durable queue, numbered from its argument on, and prints
// which are accepted and which are done, until it is killed. If the argument is 0, it pushes
// none, and ends when all tasks that are left are done.
func runChild(dir string) int {
	var out sync.Mutex
	say := func(what string, args ...any) {
		out.Lock()
		defer out.Unlock()
		_, _ = fmt.Fprintf(os.Stdout, what+"\n", args...)
	}
	next, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return 2
	}
	node, err := link.New(link.Config{Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		say("error %v", err)
		return 1
	}
	p, err := pipeline.NewProducer(node, receipts, pipeline.Durable(dir), pipeline.Patient())
	if err != nil {
		say("error %v", err)
		return 1
	}
	ctx := context.Background()
	say("up")
	if next == 0 {
		left, err := p.Drain(ctx)
		say("left %d %v", len(left), err)
		return 0
	}
	var mu sync.Mutex
	for i := range pushers {
		go func() {
			var opts []pipeline.PushOption
			if i < keyed {
				opts = append(opts, pipeline.Key(strconv.Itoa(i)))
			}
			for {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				f, err := p.Enqueue(ctx, order{ID: strconv.Itoa(n)}, opts...)
				if err != nil {
					say("error %v", err)
					return
				}
				say("accepted %d", n)
				go func() {
					if _, err := f.Wait(ctx); err == nil {
						say("done %d", n)
					}
				}()
			}
		}()
	}
	select {}
}

// rounds is what the worker of TestKillNine sees. The worker lives while producers are killed.
type rounds struct {
	mu    sync.Mutex // guards the fields below
	round int
	// ran has the rounds in which each task ran.
	ran map[int][]int
	// keys has the tasks of each key in the order in which they began.
	keys map[string][]int
	// busy counts the running handlers by key; fences has the last fence by key.
	busy   map[string]int
	fences map[string]uint64
	faults []string
	// next tells that the next producer is up.
	next notify.Broadcast
	// last is set if no other producer follows.
	last bool
}

// run is the handler. Now and then it runs until the producer was killed and is back.
func (r *rounds) run(ctx context.Context, o order) error {
	n, err := strconv.Atoi(o.ID)
	if err != nil {
		return err
	}
	task := pipeline.TaskOf(ctx)
	wait := r.begin(n, task.Key, task.Fence)
	if wait != nil {
		<-wait
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[task.Key]--; r.ran[n] == nil || r.ran[n][len(r.ran[n])-1] != r.round {
		r.ran[n] = append(r.ran[n], r.round)
	}
	return nil
}

func (r *rounds) begin(n int, key string, fence uint64) (wait <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[key]++; key == "" {
		return nil
	}
	if r.busy[key] > 1 {
		r.faults = append(r.faults, fmt.Sprintf("task %d of key %s began while another ran", n, key))
	}
	if had := r.keys[key]; len(had) > 0 && n <= had[len(had)-1] {
		r.faults = append(r.faults, fmt.Sprintf("task %d of key %s began after task %d", n, key, had[len(had)-1]))
	}
	if fence <= r.fences[key] {
		r.faults = append(r.faults, fmt.Sprintf("task %d of key %s began with fence %d after %d", n, key, fence, r.fences[key]))
	}
	r.keys[key], r.fences[key] = append(r.keys[key], n), fence
	if !r.last && rand.IntN(4) == 0 {
		return r.next.C()
	}
	return nil
}

// up notes that the next producer is up, and whether it is the last.
func (r *rounds) up(last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = last
	r.next.All()
}

// over ends a round.
func (r *rounds) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.round++
}

// TestKillNine kills the process of a durable producer again and again, each time once it has
// printed a number of lines, and every other time not before it has printed that a task is done.
// The worker lives, and runs tasks while there is no producer.
func TestKillNine(t *testing.T) {
	kills := 200
	switch {
	case testing.Short():
		kills = 10
	case race.Enabled:
		kills = 50
	}
	t.Setenv("LINK_CLUSTER_SECRET", strings.Repeat("s3cret-", 8))
	registry, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	node, err := link.New(link.Config{Service: "mailer", Registry: registry, Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rounds{
		ran: map[int][]int{}, keys: map[string][]int{}, busy: map[string]int{}, fences: map[string]uint64{},
	}
	pipeline.Pull(node, receipts, pipeline.NoResult(r.run))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	<-node.Ready()

	dir := filepath.Join(t.TempDir(), "queue")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	accepted := map[int]bool{}
	// finished has the round in which a child said that a task is done.
	finished := map[int]int{}
	highest := 0
	run := func(from, killAfter, done int) {
		cmd := exec.CommandContext(t.Context(), exe, strconv.Itoa(from))
		cmd.Env = append(os.Environ(), childEnv+"="+dir, "LINK_PEERS=mailer="+node.Addr())
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := 0
		for lines := bufio.NewScanner(out); lines.Scan(); said++ {
			what, rest, _ := strings.Cut(lines.Text(), " ")
			n, _ := strconv.Atoi(rest)
			switch what {
			case "up":
				r.up(from == 0)
			case "accepted":
				accepted[n] = true
				highest = max(highest, n)
			case "done":
				// Only over writes r.round, on this goroutine.
				finished[n] = r.round
				done--
			case "left":
				if rest != "0 <nil>" {
					t.Errorf("round %d: left %s", r.round, rest)
				}
			default:
				t.Errorf("round %d: the child says %q", r.round, lines.Text())
				_ = cmd.Process.Kill()
			}
			if from > 0 && said >= killAfter && done <= 0 {
				_ = cmd.Process.Kill()
			}
		}
		// The error only says that the child was killed.
		_ = cmd.Wait()
		r.over()
	}
	from := 0
	for i := range kills {
		// A child may have pushed more tasks than it could report.
		from = max(from, highest) + 1000
		// On a busy machine, a child may print all of these lines before a task is done.
		run(from, rand.IntN(100), i%2)
	}
	run(0, 0, 0)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	_ = registry.Close()
	again := 0
	for n := range accepted {
		if len(r.ran[n]) == 0 {
			t.Errorf("task %d was accepted and is lost", n)
		}
		if len(r.ran[n]) > 1 {
			again++
		}
	}
	if again > 0 {
		t.Errorf("%d tasks ran more than once, though their worker lived and knew that it had done them", again)
	}
	for n, in := range finished {
		if last := r.ran[n][len(r.ran[n])-1]; last > in {
			t.Errorf("task %d was done in round %d and ran again in round %d", n, in, last)
		}
	}
	for _, fault := range r.faults {
		t.Error(fault)
	}
	ofKeys := 0
	for _, tasks := range r.keys {
		ofKeys += len(tasks)
	}
	if len(finished) == 0 || ofKeys == 0 {
		t.Errorf("%d tasks were told to be done, %d with a key began", len(finished), ofKeys)
	}
	t.Logf("%d kills: %d tasks accepted, %d told to be done, %d ran more than once; %d with a key began", kills, len(accepted), len(finished), again, ofKeys)
}
