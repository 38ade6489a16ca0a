// Package child starts the test binary again, as another process of the test.
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

// variable is the environment variable that holds the role of the process.
const variable = "LINK_TEST_CHILD"

// Role returns the role that [Start] gave to this process, or "" if this process runs the
// tests. It is for TestMain.
func Role() string { return os.Getenv(variable) }

// Ended blocks until the process that started this one calls [Process.End] or has ended.
func Ended() { _, _ = io.Copy(io.Discard, os.Stdin) }

// Say writes a line for [Process.Says]. It ignores errors, because there is nobody to report them to.
func Say(words ...any) { _, _ = fmt.Fprintln(os.Stdout, words...) }

// Process is another process of a test. Its methods must be called on the test's goroutine.
type Process struct {
	tb  testing.TB
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Scanner

	// logged is read only after the process has ended.
	logged bytes.Buffer
	ended  func()
}

// Start starts the test binary with a role, and with env added to its environment. The process is
// killed when the test ends, unless it has ended before.
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
		// The exit status does not matter: the test may have killed the process.
		_ = p.cmd.Wait()
		if tb.Failed() && p.logged.Len() > 0 {
			tb.Logf("process %s said:\n%s", role, &p.logged)
		}
	})
	tb.Cleanup(p.Kill)
	return p
}

// Says reads the next line of the process's standard output, fails the test unless it begins with
// word, and returns the rest of the line.
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

// Logged returns the standard error of the process, which must have ended.
func (p *Process) Logged() string { return p.logged.String() }

// Kill kills the process, like kill -9, and waits for it. The process may have ended before.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	p.ended()
}

// End asks the process to end, see [Ended], and waits for it. The process may have ended before.
func (p *Process) End() {
	_ = p.in.Close()
	p.ended()
}
