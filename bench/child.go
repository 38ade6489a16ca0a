package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// A child is this binary started again as the server or the client of one
// peer. Parent and child speak JSON lines over standard input and output: the
// child first says hello with a reply, then answers one reply per request, and
// ends when its input ends.

// childWord as first argument makes a process a child.
const childWord = "child"

// A request asks a child for one thing.
type request struct {
	Load   *load `json:"load,omitempty"`   // client: drive this load
	Calls  int   `json:"calls,omitempty"`  // client: count allocations of this many calls …
	Size   int   `json:"size,omitempty"`   // … of this many bytes
	Malloc bool  `json:"malloc,omitempty"` // any: report mallocs
}

// A reply is the answer; the fields that the request did not ask for are zero.
type reply struct {
	Error   string `json:"error,omitempty"`
	Addr    string `json:"addr,omitempty"` // hello of a server
	Sample  sample `json:"sample"`
	Mallocs uint64 `json:"mallocs,omitempty"`
}

func isChild(args []string) bool { return len(args) > 1 && args[1] == childWord }

// childMain is the whole life of a child; it returns the exit code.
func childMain(args []string) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	out := json.NewEncoder(os.Stdout)
	if err := child(ctx, stop, args, os.Stdin, out); err != nil {
		_ = out.Encode(reply{Error: err.Error()})
		return 1
	}
	return 0
}

func child(ctx context.Context, stop context.CancelFunc, args []string, in io.Reader, out *json.Encoder) error {
	f := flag.NewFlagSet(childWord, flag.ContinueOnError)
	role := f.String("role", "", "")
	name := f.String("peer", "", "")
	dir := f.String("dir", "", "")
	addr := f.String("addr", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	p, err := peerNamed(*name)
	if err != nil {
		return err
	}
	m := material{*dir}
	switch side(*role) {
	case serverSide:
		return p.serve(ctx, m, func(addr string) {
			_ = out.Encode(reply{Addr: addr})
			go func() { // ends with the input, and the process with it
				defer stop()
				_ = answer(ctx, nil, json.NewDecoder(in), out)
			}()
		})
	case clientSide:
		dialCtx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		c, err := p.dial(dialCtx, m, *addr)
		if err != nil {
			return err
		}
		if err := out.Encode(reply{}); err != nil {
			return err
		}
		return errors.Join(answer(ctx, c, json.NewDecoder(in), out), c.close())
	default:
		return fmt.Errorf("no role %q", *role)
	}
}

// answer serves requests until in ends.
func answer(ctx context.Context, c caller, in *json.Decoder, out *json.Encoder) error {
	for {
		var q request
		if err := in.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r reply
		var err error
		switch {
		case q.Malloc:
			r.Mallocs = mallocs()
		case c == nil:
			err = errors.New("a server makes no calls")
		case q.Load != nil:
			r.Sample, err = drive(ctx, c, *q.Load)
		default:
			r.Mallocs, err = countAllocs(ctx, c, q.Size, q.Calls)
		}
		if err != nil {
			r.Error = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

// A process is a running child as its parent sees it.
type process struct {
	what  string // for errors
	addr  string // of a server
	cmd   *exec.Cmd
	stdin io.WriteCloser
	enc   *json.Encoder
	dec   *json.Decoder
}

// start starts a child and waits for its hello. The end of ctx kills it.
func (s *session) start(ctx context.Context, sd side, peer, addr string) (*process, error) {
	cmd := exec.CommandContext(ctx, s.exe, childWord, //nolint:gosec // starts this very binary
		"-role", string(sd), "-peer", peer, "-dir", s.material.dir, "-addr", addr)
	cmd.Stderr = s.stderr
	cmd.Env = append(os.Environ(), "LINK_CLUSTER_SECRET="+s.secret)
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{
		what:  peer + " " + string(sd),
		cmd:   cmd,
		stdin: stdin,
		enc:   json.NewEncoder(stdin),
		dec:   json.NewDecoder(stdout),
	}
	hello, err := p.next()
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	p.addr = hello.Addr
	return p, nil
}

func (p *process) ask(q request) (reply, error) {
	if err := p.enc.Encode(q); err != nil {
		return reply{}, fmt.Errorf("%s: %w", p.what, err)
	}
	return p.next()
}

func (p *process) next() (reply, error) {
	var r reply
	if err := p.dec.Decode(&r); err != nil {
		return r, fmt.Errorf("%s ended without an answer: %w", p.what, err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("%s: %s", p.what, r.Error)
	}
	return r, nil
}

// stop ends the child's input and waits for the child. An error the child had
// at its end is returned.
func (p *process) stop() error {
	_ = p.stdin.Close()
	var last reply
	if err := p.dec.Decode(&last); err == nil && last.Error != "" {
		return errors.Join(fmt.Errorf("%s: %s", p.what, last.Error), p.cmd.Wait())
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.what, err)
	}
	return nil
}
