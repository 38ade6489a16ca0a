package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// subscriberProcesses is the maximum number of processes that share the
// subscribers of a row. Each subscriber has its own connection, whichever
// process it is in.
const subscriberProcesses = 4

// A crew is the processes of one run of publish/subscribe or of a pipeline.
type crew struct {
	publisher   *process
	subscribers []*process
	// all holds every process, in the order in which they were started.
	all []*process
}

// runBroadcast measures one row of publish/subscribe with fresh processes:
// first the latency of paced messages, then the rate at which the system
// delivers messages published as fast as it takes them.
func (s *session) runBroadcast(ctx context.Context, name string, r row) (sample, error) {
	system, err := find(broadcasters(), name)
	if err != nil {
		return sample{}, err
	}
	var one sample
	err = within(ctx, name, s.warm+s.window+runSlack, func(ctx context.Context) error {
		c := new(crew)
		err := s.muster(ctx, c, system, r)
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
		err = fmt.Errorf("%s lost %.3g %% of the messages and promises to lose none", name, 100*one.Lost)
	}
	return one, err
}

// muster starts the processes of one run. After an error, c holds the processes
// that are running.
func (s *session) muster(ctx context.Context, c *crew, system broadcaster, r row) error {
	addr := ""
	if _, ok := system.(brokered); ok {
		broker, err := s.start(ctx, brokerRole, system.name())
		if err != nil {
			return err
		}
		c.all = append(c.all, broker)
		addr = broker.addr
	}
	var err error
	if c.publisher, err = s.start(ctx, publisherRole, system.name(), "-addr", addr); err != nil {
		return err
	}
	c.all = append(c.all, c.publisher)

	// Start all at once: on a machine with few cores this is most of a run's overhead.
	counts := split(r.subs, subscriberProcesses)
	started := make([]*process, len(counts))
	err = together(len(counts), func(i int) (err error) {
		started[i], err = s.start(ctx, subscriberRole, system.name(), "-addr", c.publisher.addr,
			"-subs", strconv.Itoa(counts[i]), "-size", strconv.Itoa(r.size))
		return err
	})
	c.subscribers = slices.DeleteFunc(started, func(p *process) bool { return p == nil })
	c.all = append(c.all, c.subscribers...)
	return err
}

// split divides n into at most parts counts that differ by at most one. None is zero.
func split(n, parts int) []int {
	parts = min(n, parts)
	counts := make([]int, parts)
	for i := range counts {
		counts[i] = n / parts
		if i < n%parts {
			counts[i]++
		}
	}
	return counts
}

// together runs f for 0 to n-1 concurrently, and returns their errors joined.
func together(n int, f func(i int) error) error {
	errs := make([]error, n)
	var work sync.WaitGroup
	for i := range n {
		work.Go(func() { errs[i] = f(i) })
	}
	work.Wait()
	return errors.Join(errs...)
}

// stop stops the processes in reverse order of their start.
func (c *crew) stop() error {
	var errs []error
	for _, p := range slices.Backward(c.all) {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

// cpu returns the processor time that the processes used from start to end.
// They must have ended.
func (c *crew) cpu() (sum time.Duration) {
	for _, p := range c.all {
		if state := p.cmd.ProcessState; state != nil {
			sum += state.UserTime() + state.SystemTime()
		}
	}
	return sum
}

// longestWindow bounds the doubling of a window in which nothing arrived: on a busy machine a
// process may not be scheduled at all during a short window.
const longestWindow = runSlack / 3

func (s *session) measure(c *crew, r row) (sample, error) {
	if _, err := c.publisher.ask(request{Await: max(r.subs, 1)}); err != nil {
		return sample{}, err
	}
	took, err := c.pace(r)
	if err != nil {
		return sample{}, err
	}
	for window := s.window; ; window *= 2 {
		one, err := c.flood(r, s.warm, window)
		switch {
		case err != nil:
			return sample{}, err
		case one.Rate > 0:
			one.P50, one.P99 = percentile(took, 50), percentile(took, 99)
			return one, nil
		case window > longestWindow/2:
			return sample{}, fmt.Errorf("nothing arrived in %v", window)
		}
	}
}

// pace returns the sorted times from publish to delivery of paced messages.
func (c *crew) pace(r row) ([]time.Duration, error) {
	timed := time.Now().Add(pacedWarm)
	b := burst{Size: r.size, Rate: paced(r.size, max(r.subs, 1)), Timed: timed.UnixNano(), Until: timed.Add(pacedWindow).UnixNano()}
	done, err := c.publisher.ask(request{Burst: &b})
	if err != nil {
		return nil, err
	}
	took, _, err := c.settle(done.Published)
	if err != nil {
		return nil, err
	}
	if len(took) == 0 {
		return nil, errors.New("no paced message arrived")
	}
	slices.Sort(took)
	return took, nil
}

// flood publishes as fast as the system accepts messages. It returns the
// deliveries per second over all subscribers, and the share of all messages of
// the run that did not arrive.
func (c *crew) flood(r row, warm, window time.Duration) (one sample, err error) {
	from := time.Now().Add(warm)
	to := from.Add(window)
	counted := span{From: from.UnixNano(), To: to.UnixNano()}
	rates := make([]float64, len(c.subscribers))
	var done reply
	err = together(len(c.subscribers)+1, func(i int) (err error) {
		if i == len(c.subscribers) {
			done, err = c.publisher.ask(request{Burst: &burst{Size: r.size, Until: counted.To}})
			return err
		}
		one, err := c.subscribers[i].ask(request{Count: &counted})
		rates[i] = one.Rate
		return err
	})
	if err != nil {
		return sample{}, err
	}
	if _, one.received, err = c.settle(done.Published); err != nil {
		return sample{}, err
	}
	for _, rate := range rates {
		one.Rate += rate
	}
	due := float64(done.Published) * float64(max(r.subs, 1))
	one.Lost = (due - float64(one.received)) / due
	return one, nil
}

// settle waits until the published messages have arrived at all subscribers. It
// returns the latencies since its last call and the deliveries since the start.
func (c *crew) settle(published uint64) (took []time.Duration, received uint64, err error) {
	replies := make([]reply, len(c.subscribers))
	err = together(len(c.subscribers), func(i int) (err error) {
		replies[i], err = c.subscribers[i].ask(request{Settle: &published})
		return err
	})
	for _, one := range replies {
		took = append(took, one.Took...)
		received += one.Received
	}
	return took, received, err
}
