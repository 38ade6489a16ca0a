// Package child starts a test's own binary again, as another process of the test.
package child

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// variable holds what the process is to be.
const variable = "LINK_TEST_CHILD"

// Role returns what [Start] said that this process is to be, "" if it is the one that runs
// the tests. TestMain asks.
func Role() string { return os.Getenv(variable) }

// Ended returns when the process that started this one wants it to end, or has ended itself.
func Ended() { _, _ = io.Copy(io.Discard, os.Stdin) }

// Say writes a line that [Process.Says] reads.
func Say(words ...any) { _, _ = fmt.Fprintln(os.Stdout, words...) } // nobody is left to hear of an error

// Process is another process of a test. Its methods are for the goroutine of the test.
type Process struct {
	tb     testing.TB
	cmd    *exec.Cmd
	in     io.Closer
	out    *bufio.Scanner
	logged bytes.Buffer // read once it has ended
	ended  func()
}

// Start starts the binary of the test with a role, and more in its environment. The process is killed
// when the test ends, if it has not ended before.
func Start(tb testing.TB, role string, env ...string) *Process {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	p := &Process{tb: tb, cmd: exec.CommandContext(context.WithoutCancel(tb.Context()), exe)} //nolint:gosec // it is this very program
	p.cmd.Env = append(append(os.Environ(), env...), variable+"="+role)
	p.cmd.Stderr = &p.logged
	in, err := p.cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.in, p.out = in, bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p.ended = sync.OnceFunc(func() {
		_ = p.cmd.Wait() // how it ended is what the test made of it
		if tb.Failed() && p.logged.Len() > 0 {
			tb.Logf("process %s said:\n%s", role, &p.logged)
		}
	})
	tb.Cleanup(p.Kill)
	return p
}

// Says returns the rest of the next line that the process writes to its standard output, which
// must begin with a word.
func (p *Process) Says(word string) string {
	p.tb.Helper()
	if !p.out.Scan() {
		p.Kill()
		p.tb.Fatalf("the process ended before it said %q:\n%s", word, &p.logged)
	}
	got, rest, _ := strings.Cut(p.out.Text(), " ")
	if got != word {
		p.tb.Fatalf("the process said %q, want %q", p.out.Text(), word)
	}
	return rest
}

// Logged returns what the process has written to its standard error. It must have ended.
func (p *Process) Logged() string { return p.logged.String() }

// Kill ends the process as kill -9 does, and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails if it ended by itself
	p.ended()
}

// End lets the process end, see [Ended], and waits for it.
func (p *Process) End() {
	_ = p.in.Close() // it may have ended by itself
	p.ended()
}
