package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/protocol/reqrep"
)

// Roles of a child.
const (
	nodeRole     = "node"
	honestRole   = "honest"
	attackerRole = "attacker"
)

// service is the service name of the node.
const service = "orders"

// Routes and topics that the node serves.
//
//nolint:gochecknoglobals // how routes are declared
var (
	echo   = reqrep.NewMethod[[]byte, []byte](service, "echo", link.ReadOnly)
	large  = reqrep.NewMethod[struct{}, []byte](service, "large", link.ReadOnly)
	ticks  = pubsub.NewTopic[int](service, "ticks")
	frames = link.Route{Service: service, Name: "frames", Kind: link.KindChannel}
)

// largeReply is the size of a reply that an attacker does not read, in bytes.
const largeReply = 3 << 20

// child runs a child in the given role until its input ends.
func child(ctx context.Context, role, addr, attack string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan string)
	go func() {
		defer cancel()
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	switch role {
	case nodeRole:
		return serve(ctx, lines, out)
	case honestRole:
		return call(ctx, addr, lines, out)
	case attackerRole:
		return assault(ctx, attack, addr, out)
	default:
		return fmt.Errorf("no child is called %s", role)
	}
}

// usage is the processor time and the peak memory, in bytes, that a process has
// used so far.
type usage struct {
	CPU  time.Duration
	Peak uint64
}

func used() (u usage) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err == nil {
		u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
		// Maxrss is in kilobytes on Linux.
		u.Peak = uint64(r.Maxrss) << 10
	}
	return u
}

// serve runs the node under attack. It answers each line with its usage.
func serve(ctx context.Context, lines <-chan string, out io.Writer) error {
	node, err := member(service)
	if err != nil {
		return err
	}
	reqrep.Handle(node, echo, func(_ context.Context, b []byte) ([]byte, error) { return b, nil })
	reply := make([]byte, largeReply)
	reqrep.Handle(node, large, func(context.Context, struct{}) ([]byte, error) { return reply, nil })
	link.HostOf(node).Handle(frames, func(ctx context.Context, _ *link.Stream) error {
		// The handler grants no credit and reads nothing.
		<-ctx.Done()
		return nil
	})
	publisher, err := pubsub.NewPublisher(node, ticks)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	select {
	case <-node.Ready():
	case err := <-ended:
		return err
	}
	fmt.Fprintln(out, node.Addr())
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-tick.C:
			n++
			if _, err := publisher.Publish(ctx, n); err != nil && ctx.Err() == nil {
				return err
			}
		case _, more := <-lines:
			if !more {
				return <-ended
			}
			if err := json.NewEncoder(out).Encode(used()); err != nil {
				return err
			}
		case err := <-ended:
			return err
		}
	}
}

// member returns a node of the mesh that knows the given instances.
func member(name string, known ...discovery.Instance) (*link.Node, error) {
	registry, err := static.New(known...)
	if err != nil {
		return nil, err
	}
	return link.New(link.Config{Service: name, Addr: "127.0.0.1:0", Registry: registry})
}

// sample is what honest callers measured during one request.
type sample struct {
	Calls, Failed int
	P50, P99, Max time.Duration
	// Errors has the first few errors of calls and of the subscription.
	Errors []string
}

// maxErrors is how many errors of each kind are kept.
const maxErrors = 5

// The number of honest callers, and how often each calls.
const (
	callers   = 4
	callEvery = 10 * time.Millisecond
)

// call makes honest calls for the duration that each line asks for, and holds one
// subscription whose gaps and errors count as failures.
func call(ctx context.Context, addr string, lines <-chan string, out io.Writer) error {
	node, err := member("shop", discovery.Instance{ID: "orders-1", Service: service, Addr: addr})
	if err != nil {
		return err
	}
	defer func() { _ = node.Close() }()
	s, err := pubsub.Subscribe(ctx, node, ticks)
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards gaps
	var gaps []string
	go func() {
		for m := range s.Messages() {
			if m.Gap != nil || m.Err != nil {
				mu.Lock()
				gaps = append(gaps, fmt.Sprint("subscription: ", m.Gap, m.Err))
				mu.Unlock()
			}
		}
	}()
	for line := range lines {
		length, err := time.ParseDuration(line)
		if err != nil {
			return err
		}
		measured := callFor(ctx, node, length)
		mu.Lock()
		measured.Failed += len(gaps)
		measured.Errors = append(measured.Errors, gaps[:min(len(gaps), maxErrors)]...)
		gaps = nil
		mu.Unlock()
		if len(measured.Errors) > 0 {
			fmt.Fprintln(os.Stderr, "siege: honest callers:", strings.Join(measured.Errors, "; "))
		}
		if err := json.NewEncoder(out).Encode(measured); err != nil {
			return err
		}
	}
	return nil
}

// callFor measures each call from when it was due, so that a late call also makes
// the calls behind it late.
func callFor(ctx context.Context, node *link.Node, length time.Duration) (s sample) {
	var mu sync.Mutex // guards took and s
	var took []time.Duration
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range callers {
		wg.Go(func() {
			body := make([]byte, 64)
			for due := begin.Add(callEvery * time.Duration(i) / callers); due.Sub(begin) < length; due = due.Add(callEvery) {
				if backoff.Sleep(ctx, time.Until(due)) != nil {
					return
				}
				_, err := reqrep.Call(ctx, node, echo, body)
				mu.Lock()
				took = append(took, time.Since(due))
				if s.Calls++; err != nil {
					if s.Failed++; len(s.Errors) < maxErrors {
						s.Errors = append(s.Errors, err.Error())
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	if n := len(took); n > 0 {
		s.P50, s.P99, s.Max = took[n/2], took[n*99/100], took[n-1]
	}
	return s
}
