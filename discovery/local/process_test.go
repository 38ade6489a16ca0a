//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
)

// runChild runs the other process of these tests. Its arguments are a directory and an ID. It executes
// the commands on its standard input, one per line, and answers each with one line.
func runChild() int {
	dir, id := os.Args[1], os.Args[2]
	r, err := New(Config{Dir: dir, Poll: 2 * time.Millisecond})
	if err != nil {
		say("new: " + err.Error())
		return 1
	}
	defer r.Close()
	var g discovery.Registration
	in := instance(id)
	commands := bufio.NewScanner(os.Stdin)
	say("up")
	for commands.Scan() {
		switch commands.Text() {
		case "register":
			if g, err = r.Register(context.Background(), in); errors.Is(err, discovery.ErrDuplicateID) {
				say("duplicate")
				continue
			}
		case "update":
			for i := range 200 {
				in.Tags = []string{"n=" + strconv.Itoa(i)}
				if err = g.Update(context.Background(), in); err != nil {
					break
				}
			}
		case "close":
			err = g.Close()
		}
		if err != nil {
			say("error: " + err.Error())
			return 1
		}
		say("done")
	}
	return 0
}

// say writes one line for the parent.
func say(line string) { _, _ = fmt.Fprintln(os.Stdout, line) }

type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
	ended bool
}

// start starts a process and waits until it is up.
func start(t *testing.T, dir, id string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), exe, dir, id)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() { c.kill(t) })
	c.expect(t, "up")
	return c
}

func (c *child) send(t *testing.T, command string) {
	t.Helper()
	if _, err := io.WriteString(c.in, command+"\n"); err != nil {
		t.Fatal(err)
	}
}

func (c *child) answer(t *testing.T) string {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("the process ended: %v", c.out.Err())
	}
	return c.out.Text()
}

func (c *child) expect(t *testing.T, want string) {
	t.Helper()
	if got := c.answer(t); got != want {
		t.Fatalf("the process says %q, want %q", got, want)
	}
}

// kill ends the process with SIGKILL, so that it cannot clean up.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if c.ended {
		return
	}
	c.ended = true
	if err := c.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := c.cmd.Wait(); !errors.As(err, &exit) {
		t.Errorf("a killed process ended with %v", err)
	}
}

func TestProcessesThatStartTogetherAreAllSeen(t *testing.T) {
	const rounds, processes = 5, 4
	for range rounds {
		// The processes race to make this directory.
		dir := newDir(t)
		var children []*child
		var want []string
		for i := range processes {
			id := "orders-" + strconv.Itoa(i)
			children = append(children, start(t, dir, id))
			want = append(want, id)
		}
		r, _ := newRegistry(t, dir)
		if _, err := os.Lstat(dir); !isMissing(err) {
			t.Fatalf("the directory is there before anybody registered: %v", err)
		}
		for _, c := range children {
			c.send(t, "register")
		}
		// The watch reads the directory while the processes register.
		ch := watch(t, r)
		for _, c := range children {
			c.expect(t, "done")
		}
		untilIDs(t, ch, want...)
		for _, c := range children {
			c.send(t, "close")
			c.expect(t, "done")
			c.kill(t)
		}
		untilIDs(t, ch)
	}
}

func TestAKilledProcessIsGoneAndItsFileRemoved(t *testing.T) {
	dir := newDir(t)
	r, log := newRegistry(t, dir)
	ch := watch(t, r)
	victim := start(t, dir, "orders-victim")
	victim.send(t, "register")
	victim.expect(t, "done")
	register(t, r, instance("orders-stays"))
	untilIDs(t, ch, "orders-stays", "orders-victim")
	victim.kill(t)
	untilIDs(t, ch, "orders-stays")
	if got := names(t, dir); !slices.Equal(got, []string{"orders-stays.cbor"}) {
		t.Errorf("files left: %q", got)
	}
	if log.String() != "" {
		t.Errorf("log: %s", log)
	}
}

func TestTheFilesOfTheDeadAreRemovedWhoeverLooks(t *testing.T) {
	dir := newDir(t)
	victim := start(t, dir, "orders-victim")
	victim.send(t, "register")
	victim.expect(t, "done")
	victim.kill(t)
	if got := names(t, dir); len(got) != 1 {
		t.Fatalf("the victim left %q, want its file", got)
	}
	r, _ := newRegistry(t, dir)
	ch, err := r.Watch(t.Context(), discovery.Query{Service: "another"})
	if err != nil {
		t.Fatal(err)
	}
	<-ch
	eventually(t, "the file is removed", func() bool { return len(names(t, dir)) == 0 })
}

func TestADeadProcessDoesNotKeepItsID(t *testing.T) {
	dir := newDir(t)
	first := start(t, dir, "orders-1")
	second := start(t, dir, "orders-1")
	first.send(t, "register")
	first.expect(t, "done")
	second.send(t, "register")
	second.expect(t, "duplicate")
	first.kill(t)
	second.send(t, "register")
	second.expect(t, "done")
	r, _ := newRegistry(t, dir)
	untilIDs(t, watch(t, r), "orders-1")
}

func TestOfManyProcessesWithOneIDOneWins(t *testing.T) {
	const processes = 4
	dir := newDir(t)
	// The file of a dead process is in the way, and a reader watches it, too.
	dead := start(t, dir, "orders-1")
	dead.send(t, "register")
	dead.expect(t, "done")
	r, _ := newRegistry(t, dir)
	ch := watch(t, r)
	untilIDs(t, ch, "orders-1")
	var children []*child
	for range processes {
		children = append(children, start(t, dir, "orders-1"))
	}
	dead.kill(t)
	for _, c := range children {
		c.send(t, "register")
	}
	won := 0
	for _, c := range children {
		switch got := c.answer(t); got {
		case "done":
			won++
		case "duplicate":
		default:
			t.Errorf("the process says %q", got)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d processes hold the ID, want 1", won, processes)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"orders-1.cbor"}) {
		t.Errorf("files: %q", got)
	}
}

func TestAnInstanceNeverBlinksWhileItsProcessUpdatesIt(t *testing.T) {
	dir := newDir(t)
	c := start(t, dir, "orders-1")
	c.send(t, "register")
	c.expect(t, "done")
	// Each watch has its own reader, because readers see the updates at different moments.
	var watches []<-chan discovery.Snapshot
	for range 3 {
		r, _ := newRegistry(t, dir)
		ch := watch(t, r)
		untilIDs(t, ch, "orders-1")
		watches = append(watches, ch)
	}
	c.send(t, "update")
	for _, ch := range watches {
		until(t, ch, "last update", func(s discovery.Snapshot) bool {
			if len(s.Instances) != 1 {
				t.Fatalf("the instance blinked: %+v", s.Instances)
			}
			return slices.Contains(s.Instances[0].Tags, "n=199")
		})
	}
	c.expect(t, "done")
	staged, err := filepath.Glob(filepath.Join(dir, stagedPrefix+"*"))
	if err != nil || len(staged) != 0 {
		t.Errorf("left behind: %q, %v", staged, err)
	}
	if got := names(t, dir); len(got) != 1 || !strings.HasPrefix(got[0], "orders-1") {
		t.Errorf("files: %q", got)
	}
}
