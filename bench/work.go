package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A dispatcher is one system that can distribute tasks among workers, each task to one.
type dispatcher interface {
	// name returns the system's name in results and flags.
	name() string

	// lossless reports whether the system promises that every pushed task is done.
	lossless() bool

	// durable reports whether the system can keep tasks on disk.
	durable() bool

	// worker takes tasks until it is closed and calls done for each, from any
	// goroutine; a task is acknowledged when done has returned. addr is the
	// address of the broker, or "". ctx bounds only the opening.
	worker(ctx context.Context, m material, addr string, done func(body []byte)) (worker, error)

	// producer starts the pushing side. addrs holds the addresses of the workers
	// or of the broker. dir is a new folder for tasks, or "" to keep them in memory.
	producer(ctx context.Context, m material, addrs []string, dir string) (publisher, error)
}

// A durableBroker is a broker that keeps tasks in a folder.
type durableBroker interface {
	broker(ctx context.Context, m material, dir string, ready func(addr string)) error
}

// A worker takes tasks until it is closed.
type worker interface {
	// addr returns the address for producers, or "" if the worker connects to a broker.
	addr() string
	close() error
}

// dispatchers returns every system that distributes tasks, in the order in which
// their runs are interleaved.
func dispatchers() []dispatcher {
	return []dispatcher{linkStages{}, jetStream{}, mangosPipes{}}
}

// workerProcesses is how many processes do the tasks of a row.
const workerProcesses = 2

// runWork measures one row of tasks with fresh processes, as runBroadcast does.
func (s *session) runWork(ctx context.Context, name string, r row) (sample, error) {
	system, err := find(dispatchers(), name)
	if err != nil {
		return sample{}, err
	}
	dir := ""
	if r.durable {
		if dir, err = os.MkdirTemp("", "link-bench-"); err != nil {
			return sample{}, err
		}
		defer os.RemoveAll(dir)
	}
	var one sample
	err = within(ctx, name, s.warm+s.window+runSlack, func(ctx context.Context) error {
		c := new(crew)
		err := s.musterWork(ctx, c, system, dir)
		if err == nil {
			one, err = s.measure(c, r)
		}
		err = errors.Join(err, c.stop())
		if one.received > 0 {
			one.CPU = c.cpu() / time.Duration(one.received)
		}
		return err
	})
	if err == nil && one.Lost > 0 && system.lossless() {
		err = fmt.Errorf("%s lost %.3g %% of the tasks and promises to lose none", name, 100*one.Lost)
	}
	return one, err
}

// musterWork starts the processes of one run: the workers before the producer, because
// in some systems it connects to them.
func (s *session) musterWork(ctx context.Context, c *crew, system dispatcher, dir string) error {
	addr := ""
	if _, ok := system.(durableBroker); ok {
		broker, err := s.start(ctx, brokerRole, system.name(), "-data", dir)
		if err != nil {
			return err
		}
		c.all = append(c.all, broker)
		addr, dir = broker.addr, ""
	}
	started := make([]*process, workerProcesses)
	err := together(workerProcesses, func(i int) (err error) {
		started[i], err = s.start(ctx, workerRole, system.name(), "-addr", addr)
		return err
	})
	c.subscribers = slices.DeleteFunc(started, func(p *process) bool { return p == nil })
	c.all = append(c.all, c.subscribers...)
	if err != nil {
		return err
	}
	addrs := []string{addr}
	if addr == "" {
		addrs = addrs[:0]
		for _, p := range c.subscribers {
			addrs = append(addrs, p.addr)
		}
	}
	if dir != "" {
		dir = filepath.Join(dir, "queue")
	}
	c.publisher, err = s.start(ctx, producerRole, system.name(), "-addr", strings.Join(addrs, ","), "-data", dir)
	if err == nil {
		c.all = append(c.all, c.publisher)
	}
	return err
}

func producerChild(ctx context.Context, spec childSpec, p *parent) error {
	system, err := find(dispatchers(), spec.peer)
	if err != nil {
		return err
	}
	out, err := system.producer(ctx, spec.material, strings.Split(spec.addr, ","), spec.data)
	if err != nil {
		return err
	}
	return publish(ctx, out, p)
}

func workerChild(ctx context.Context, spec childSpec, p *parent) error {
	system, err := find(dispatchers(), spec.peer)
	if err != nil {
		return err
	}
	dialCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var s shift
	w, err := system.worker(dialCtx, spec.material, spec.addr, s.done)
	if err != nil {
		return err
	}
	err = p.talk(reply{Addr: w.addr()}, func(q request) (r reply, err error) {
		switch {
		case q.Count != nil:
			r.Rate, err = rate(ctx, *q.Count, s.finished.Load)
		case q.Settle != nil:
			r.Took, err = s.settle(ctx)
			r.Received = s.finished.Load()
		default:
			err = errors.New("a worker counts and settles")
		}
		return r, err
	})
	return errors.Join(err, w.close())
}

// A shift counts the tasks that one process does, in any order.
type shift struct {
	finished atomic.Uint64

	mu   sync.Mutex // guards took
	took []time.Duration
}

// done records one finished task. It does not keep body.
func (s *shift) done(body []byte) {
	if at := binary.BigEndian.Uint64(body[numberEnd:]); at != 0 {
		took := time.Duration(time.Now().UnixNano() - int64(at))
		s.mu.Lock()
		s.took = append(s.took, took)
		s.mu.Unlock()
	}
	s.finished.Add(1)
}

// settle waits until no task has finished for settleQuiet. It returns the times from
// push to done since its last call.
func (s *shift) settle(ctx context.Context) ([]time.Duration, error) {
	poll := time.NewTicker(settlePoll)
	defer poll.Stop()
	for last := (look{s.finished.Load(), time.Now()}); time.Since(last.at) < settleQuiet; {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if n := s.finished.Load(); n != last.received {
			last = look{n, time.Now()}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	took := s.took
	s.took = nil
	return took, nil
}
