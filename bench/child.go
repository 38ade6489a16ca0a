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
	"path/filepath"
	"runtime/pprof"
	"time"
)

// A child is this binary started again in one role of one peer. Parent and child
// exchange JSON lines over standard input and output: the child first says hello with a
// reply, then sends one reply per request, and ends when its input ends.

// childWord as first argument makes a process a child.
const childWord = "child"

// A role is the part that a child plays.
type role string

const (
	serverRole     role = "server"
	clientRole     role = "client"
	brokerRole     role = "broker"
	publisherRole  role = "publisher"
	producerRole   role = "producer"
	workerRole     role = "worker"     // does some of the tasks
	subscriberRole role = "subscriber" // holds some of the subscribers
)

// A request asks a child for one thing.
type request struct {
	// Load has a client drive a load.
	Load *load `json:"load,omitempty"`
	// Calls has a client count the allocations of this many calls of Size bytes.
	Calls int `json:"calls,omitempty"`
	Size  int `json:"size,omitempty"`
	// Malloc has a server or client report its mallocs.
	Malloc bool `json:"malloc,omitempty"`

	// Await has a publisher wait for this many subscribers.
	Await int `json:"await,omitempty"`
	// Burst has a publisher or producer publish a burst.
	Burst *burst `json:"burst,omitempty"`
	// Count has a subscriber or worker count deliveries in a span of time.
	Count *span `json:"count,omitempty"`
	// Settle has a subscriber wait until this many messages have come, and a
	// worker until no more tasks come.
	Settle *uint64 `json:"settle,omitempty"`
}

// A reply answers a request. Fields that the request did not ask for are zero.
type reply struct {
	Error string `json:"error,omitempty"`
	// Addr is in the hello of a child that listens.
	Addr    string `json:"addr,omitempty"`
	Sample  sample `json:"sample"`
	Mallocs uint64 `json:"mallocs,omitempty"`

	// Published answers Burst with the number of messages since the start.
	Published uint64 `json:"published,omitempty"`
	// Rate answers Count, in deliveries per second.
	Rate float64 `json:"rate,omitempty"`
	// Received answers Settle with the number of deliveries since the start.
	Received uint64 `json:"received,omitempty"`
	// Took answers Settle with the times from publish to delivery of the messages that carried a time.
	Took []time.Duration `json:"took,omitempty"`
}

// A childSpec holds the settings that a child gets on its command line.
type childSpec struct {
	role     role
	peer     string
	material material
	// addr is the address of the server, publisher or broker, or "" if there is
	// none. A producer gets a comma-separated list.
	addr string
	// subs is how many subscribers a subscriber child holds.
	subs int
	// data is the folder for the tasks of a broker or producer. They stay in memory if it is "".
	data string
	// size is the size of a message for a subscriber child, in bytes.
	size int
	// profile is the folder for a CPU profile. None is written if it is "".
	profile string
}

func isChild(args []string) bool { return len(args) > 1 && args[1] == childWord }

// childMain runs a child to its end and returns the exit code.
func childMain(args []string) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	p := &parent{in: json.NewDecoder(os.Stdin), out: json.NewEncoder(os.Stdout), stop: stop}
	if err := child(ctx, args, p); err != nil {
		_ = p.out.Encode(reply{Error: err.Error()})
		return 1
	}
	return 0
}

func child(ctx context.Context, args []string, p *parent) error {
	var spec childSpec
	f := flag.NewFlagSet(childWord, flag.ContinueOnError)
	f.StringVar((*string)(&spec.role), "role", "", "")
	f.StringVar(&spec.peer, "peer", "", "")
	f.StringVar(&spec.material.dir, "dir", "", "")
	f.StringVar(&spec.addr, "addr", "", "")
	f.StringVar(&spec.data, "data", "", "")
	f.IntVar(&spec.subs, "subs", 0, "")
	f.IntVar(&spec.size, "size", 0, "")
	f.StringVar(&spec.profile, "profile", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	if spec.profile == "" {
		return spec.play(ctx, p)
	}
	return profiled(filepath.Join(spec.profile, fmt.Sprintf("%s-%s-%d.pprof", spec.peer, spec.role, os.Getpid())), func() error {
		return spec.play(ctx, p)
	})
}

// profiled runs f and writes a CPU profile of the process during it to path.
func profiled(path string, f func() error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	file, err := os.Create(path) //nolint:gosec // the user's own choice
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(err, file.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}

// play runs the child's role until its input ends.
func (spec childSpec) play(ctx context.Context, p *parent) error {
	switch spec.role {
	case serverRole:
		return serverChild(ctx, spec, p)
	case clientRole:
		return clientChild(ctx, spec, p)
	case brokerRole:
		return brokerChild(ctx, spec, p)
	case publisherRole:
		return publisherChild(ctx, spec, p)
	case producerRole:
		return producerChild(ctx, spec, p)
	case workerRole:
		return workerChild(ctx, spec, p)
	case subscriberRole:
		return subscriberChild(ctx, spec, p)
	default:
		return fmt.Errorf("no role %q", spec.role)
	}
}

func serverChild(ctx context.Context, spec childSpec, p *parent) error {
	system, err := find(peers(), spec.peer)
	if err != nil {
		return err
	}
	return system.serve(ctx, spec.material, p.ready(func(q request) (reply, error) {
		if !q.Malloc {
			return reply{}, errors.New("a server makes no calls")
		}
		return reply{Mallocs: mallocs()}, nil
	}))
}

func clientChild(ctx context.Context, spec childSpec, p *parent) error {
	system, err := find(peers(), spec.peer)
	if err != nil {
		return err
	}
	dialCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := system.dial(dialCtx, spec.material, spec.addr)
	if err != nil {
		return err
	}
	err = p.talk(reply{}, func(q request) (r reply, err error) {
		switch {
		case q.Malloc:
			r.Mallocs = mallocs()
		case q.Load != nil:
			r.Sample, err = drive(ctx, c, *q.Load)
		default:
			r.Mallocs, err = countAllocs(ctx, c, q.Size, q.Calls)
		}
		return r, err
	})
	return errors.Join(err, c.close())
}

// A parent is the other end of a child's standard input and output.
type parent struct {
	in  *json.Decoder
	out *json.Encoder
	// stop ends the child.
	stop context.CancelFunc
}

// talk says hello and answers requests until the input ends.
func (p *parent) talk(hello reply, answer func(request) (reply, error)) error {
	if err := p.out.Encode(hello); err != nil {
		return err
	}
	for {
		var q request
		if err := p.in.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		r, err := answer(q)
		if err != nil {
			r = reply{Error: err.Error()}
		}
		if err := p.out.Encode(r); err != nil {
			return err
		}
	}
}

// ready returns a callback for children that serve until they are stopped. The
// callback starts a goroutine that answers requests, and stops the child when
// the input ends.
func (p *parent) ready(answer func(request) (reply, error)) func(addr string) {
	return func(addr string) {
		go func() {
			defer p.stop()
			_ = p.talk(reply{Addr: addr}, answer)
		}()
	}
}

// A process is a running child as its parent sees it.
type process struct {
	// what names the child in errors.
	what string
	// addr is the address that the child listens on, from its hello.
	addr  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	enc   *json.Encoder
	dec   *json.Decoder
}

// start starts a child with additional flags for its role, and waits for its
// hello. The child is killed when ctx ends.
func (s *session) start(ctx context.Context, r role, peer string, flags ...string) (*process, error) {
	args := append([]string{childWord, "-role", string(r), "-peer", peer, "-dir", s.material.dir, "-profile", s.profile}, flags...)
	cmd := exec.CommandContext(ctx, s.exe, args...) //nolint:gosec // starts this very binary
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
		what:  peer + " " + string(r),
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

// stop ends the child's input and waits for the child to exit. It returns the
// error that the child reported at its end, if any.
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
