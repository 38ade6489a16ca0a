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
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/pipeline"
)

// childEnv makes this program the other process of TestKillNine: it holds the folder
// of a queue.
const childEnv = "LINK_PIPELINE_TEST_CHILD"

// runChild pushes tasks through a durable queue, numbered from the number that it is
// given, and says which are accepted and which are done, until it is killed. From the
// number 0 it pushes none, and ends when all tasks that are left are done.
func runChild(dir string) int {
	say := func(what string, args ...any) { _, _ = fmt.Fprintf(os.Stdout, what+"\n", args...) }
	next, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return 2
	}
	node, err := link.New(link.Config{Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		say("error %v", err)
		return 1
	}
	p, err := pipeline.NewProducer(node, receipts, pipeline.Durable(dir, pipeline.GroupCommit))
	if err != nil {
		say("error %v", err)
		return 1
	}
	ctx := context.Background()
	if next == 0 {
		left, err := p.Drain(ctx)
		say("left %d %v", len(left), err)
		return 0
	}
	say("up")
	var mu sync.Mutex
	for range 8 {
		go func() {
			for {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				f, err := p.Enqueue(ctx, order{ID: strconv.Itoa(n)})
				if err != nil {
					say("error %v", err)
					return
				}
				say("accepted %d", n)
				go func() {
					if f.Wait(ctx) == nil {
						say("done %d", n)
					}
				}()
			}
		}()
	}
	select {}
}

// TestKillNine kills the process of a durable producer again and again.
func TestKillNine(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 10
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
	var mu sync.Mutex
	round := 0
	ran := map[int][]int{} // in which rounds a task ran
	pipeline.Pull(node, receipts, func(_ context.Context, o order) error {
		n, err := strconv.Atoi(o.ID)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		ran[n] = append(ran[n], round)
		return nil
	})
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
	finished := map[int]int{} // in which round we heard that a task is done
	highest := 0
	run := func(from int, killAfter time.Duration) {
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
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			what, rest, _ := strings.Cut(lines.Text(), " ")
			n, _ := strconv.Atoi(rest)
			switch what {
			case "up":
				time.AfterFunc(killAfter, func() { _ = cmd.Process.Kill() })
			case "accepted":
				accepted[n] = true
				highest = max(highest, n)
			case "done":
				finished[n] = round
			case "left":
				if rest != "0 <nil>" {
					t.Errorf("round %d: left %s", round, rest)
				}
			default:
				t.Errorf("round %d: the child says %q", round, lines.Text())
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait() // it was killed
	}
	for range kills {
		run(highest+1000, time.Duration(5+rand.IntN(60))*time.Millisecond)
		mu.Lock()
		round++
		mu.Unlock()
	}
	run(0, time.Minute)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	_ = registry.Close()
	again := 0
	for n := range accepted {
		if len(ran[n]) == 0 {
			t.Errorf("task %d was accepted and is lost", n)
		}
		if len(ran[n]) > 1 {
			again++
		}
	}
	for n, r := range finished {
		if last := ran[n][len(ran[n])-1]; last > r {
			t.Errorf("task %d was done in round %d and ran again in round %d", n, r, last)
		}
	}
	if len(finished) == 0 {
		t.Error("no task was done")
	}
	t.Logf("%d kills: %d tasks accepted, %d told to be done, %d ran more than once", kills, len(accepted), len(finished), again)
}
