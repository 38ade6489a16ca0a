package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/linkmesh/link"
)

// Lines that a service writes to its standard output for the quickstart.
const (
	readyLine = "ready"

	// placedLine is followed by the number of orders, once the service has drained.
	placedLine = "placed"
)

// patience is how long a process may take to drain before it is killed.
const patience = 5 * time.Second

// serve runs node until ctx ends, and prints readyLine when it serves.
func serve(ctx context.Context, node *link.Node) error {
	ran := make(chan error, 1)
	go func() { ran <- node.Run(ctx) }()
	select {
	case <-node.Ready():
		fmt.Println(readyLine)
		return <-ran
	case err := <-ran:
		return err
	}
}

// untilAlone returns a copy of ctx that also ends when the quickstart that started
// this process has ended: it holds the other end of standard input.
func untilAlone(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return ctx
}

// process is a service that the quickstart started.
type process struct {
	name  string
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// start starts this program again as the service that args specify, and waits until
// it serves. name is for messages. When ctx ends, the process is told to stop, and is
// killed if it does not.
func start(ctx context.Context, name string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...) //nolint:gosec // this program, with arguments of its own
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Cancel, cmd.WaitDelay = stdin.Close, patience
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, lines: bufio.NewScanner(stdout)}
	if !p.lines.Scan() || p.lines.Text() != readyLine {
		return nil, errors.Join(fmt.Errorf("%s did not come up", name), p.lines.Err(), cmd.Wait())
	}
	return p, nil
}

// stop sends SIGTERM, like an orchestrator, and waits for the process to drain. It
// returns the number of orders that the process reports.
func (p *process) stop() (placed int, err error) {
	// Signal fails if the process has already ended. Wait returns the reason.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	for p.lines.Scan() {
		if n, ok := strings.CutPrefix(p.lines.Text(), placedLine+" "); ok {
			_, err = fmt.Sscan(n, &placed)
		}
	}
	if err := errors.Join(err, p.lines.Err(), p.cmd.Wait()); err != nil {
		return 0, fmt.Errorf("%s did not drain: %w", p.name, err)
	}
	return placed, nil
}
