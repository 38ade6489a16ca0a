package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/linkmesh/link/security"
)

// childWord as first argument makes a process a child.
const childWord = "child"

// secretVariable is the environment variable with the cluster secret of a run.
const secretVariable = "LINK_CLUSTER_SECRET" //nolint:gosec // the name of the variable

// worstRatio is the factor by which an attack must not raise the honest callers' p99.
const worstRatio = 3

const header = "attack\tp99 idle\tp99 under attack\tratio\tcalls\tfailed\tnode CPU\tattacker CPU\tnode memory"

// result is one line of the table.
type result struct {
	attack      string
	idle, under sample
	// node and attacker are the processor times used during the attack.
	node, attacker time.Duration
	// memory is the peak memory of the node, in bytes.
	memory uint64
}

func (r result) ratio() float64 { return float64(r.under.P99) / float64(max(r.idle.P99, 1)) }

func (r result) held() bool { return r.under.Failed == 0 && r.ratio() < worstRatio }

func (r result) String() string {
	return fmt.Sprintf("%s\t%v\t%v\t%.2f\t%d\t%d\t%.1fs\t%.1fs\t%d MiB", r.attack,
		r.idle.P99.Round(time.Microsecond), r.under.P99.Round(time.Microsecond), r.ratio(), r.under.Calls, r.under.Failed,
		r.node.Seconds(), r.attacker.Seconds(), r.memory>>20)
}

// process is a running child.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// launch starts a child. An attacker runs with the lowest priority.
func launch(ctx context.Context, secret, role, addr, attack string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary to start it again: %w", err)
	}
	cmd := exec.CommandContext(ctx, exe, childWord, role, addr, attack) //nolint:gosec // itself
	if role == attackerRole {
		cmd = exec.CommandContext(ctx, "nice", "-n", "19", exe, childWord, role, addr, attack) //nolint:gosec // itself
	}
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), secretVariable+"="+secret)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd, in, bufio.NewScanner(out)}, nil
}

// line waits for the next line that the child writes.
func (p *process) line() (string, error) {
	if p.out.Scan() {
		return p.out.Text(), nil
	}
	return "", errors.Join(errors.New("the process ended"), p.out.Err(), p.cmd.Wait())
}

// ask sends the child a line and decodes its answer.
func (p *process) ask(request string, answer any) error {
	if _, err := fmt.Fprintln(p.in, request); err != nil {
		return err
	}
	line, err := p.line()
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(line), answer)
}

// kill kills the child without waiting for further output, and returns the
// processor time that it used.
func (p *process) kill() time.Duration {
	// Kill fails if the child has already exited, and Wait because it was killed.
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	if p.cmd.ProcessState == nil {
		return 0
	}
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// warmUp is how long the callers dial and fill caches before they are measured.
const warmUp = 2 * time.Second

// besiege runs one attack against a fresh node.
func besiege(ctx context.Context, a attack, o options) (r result, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	secret := security.NewSecret()
	node, err := launch(ctx, secret, nodeRole, "", "")
	if err != nil {
		return r, err
	}
	defer node.kill()
	addr, err := node.line()
	if err != nil {
		return r, err
	}
	honest, err := launch(ctx, secret, honestRole, addr, "")
	if err != nil {
		return r, err
	}
	defer honest.kill()
	r.attack = a.name
	var warm sample
	if err := errors.Join(honest.ask(min(warmUp, o.idle).String(), &warm), honest.ask(o.idle.String(), &r.idle)); err != nil {
		return r, err
	}
	var before, after usage
	if err := node.ask("usage", &before); err != nil {
		return r, err
	}
	if a.stranger {
		secret = security.NewSecret()
	}
	attacker, err := launch(ctx, secret, attackerRole, addr, a.name)
	if err != nil {
		return r, err
	}
	defer attacker.kill()
	// The attacker writes a line when it begins.
	if _, err := attacker.line(); err != nil {
		return r, fmt.Errorf("the attacker did not begin: %w", err)
	}
	if err := honest.ask(o.length.String(), &r.under); err != nil {
		return r, err
	}
	r.attacker = attacker.kill()
	if err := node.ask("usage", &after); err != nil {
		return r, err
	}
	r.node, r.memory = after.CPU-before.CPU, after.Peak
	return r, nil
}
