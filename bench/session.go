package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// runSlack is how much longer than its load a run may take before it is killed.
	runSlack = 30 * time.Second

	// allocSize is the payload of a call whose allocations are counted, in bytes.
	allocSize = 64
	// allocWarm is the number of calls before counting, which fill pools and buffers.
	allocWarm = 2000
	// allocCalls is the number of calls that are counted.
	allocCalls = 20000
	allocPeer  = "grpc"
)

// A session is one execution of the command.
type session struct {
	options

	exe      string
	material material
	// secret is the LINK_CLUSTER_SECRET of every child.
	secret string
	stdout io.Writer
	// stderr also gets the standard error of the children.
	stderr *sharedWriter
}

// A sharedWriter serializes writes.
type sharedWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *sharedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

// heavy is the number of bytes in flight from which a row is measured for a
// shorter time, so that each row takes under 45 s.
const heavy = 64 << 20

// compareRows measures rows and prints a line per row and peer. A row in which
// a call fails is abandoned with a message, and the others continue. A row that
// self does not take part in is measured but has no ratios.
func (s *session) compareRows(ctx context.Context, rows []row) error {
	book := results{self: s.self}
	var failed []error
	for _, r := range rows {
		field := s.field(r)
		samples, err := s.runRow(ctx, r, field)
		if err != nil {
			err = fmt.Errorf("%s is given up: %w", r.name, err)
			fmt.Fprintln(s.stderr, err)
			failed = append(failed, err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		self, ok := samples[s.self]
		if !ok {
			fmt.Fprintf(s.stderr, "%s: %s has no part in this row, so it has no ratios\n", r.name, s.self)
		}
		for _, name := range field {
			book.absolute = append(book.absolute, absoluteLine(r, name, samples[name]))
			if name == s.self || !ok {
				continue
			}
			line := ratioLine(r.name, name, self, samples[name])
			book.ratios = append(book.ratios, line)
			fmt.Fprintln(s.stdout, line)
		}
	}
	if s.out != "" {
		failed = append(failed, book.save(s.out))
	}
	return errors.Join(failed...)
}

// field returns the peers of a row that run, which option only may restrict.
func (s *session) field(r row) []string {
	field := r.contestants(s.self)
	if s.only == "" {
		return field
	}
	only := append(strings.Split(s.only, ","), s.self)
	return slices.DeleteFunc(field, func(name string) bool { return !slices.Contains(only, name) })
}

// runRow runs every peer of field in turn, as often as the session says.
func (s *session) runRow(ctx context.Context, r row, field []string) (map[string][]sample, error) {
	samples := make(map[string][]sample, len(field))
	for i := range s.runs {
		for _, name := range field {
			one, err := s.runOnce(ctx, name, r)
			if err != nil {
				return nil, fmt.Errorf("run %d: %w", i+1, err)
			}
			samples[name] = append(samples[name], one)
			more := ""
			if one.CPU > 0 {
				more = fmt.Sprintf("  CPU %v", one.CPU)
			}
			if one.Lost > 0 {
				more += fmt.Sprintf("  lost %.2f %%", 100*one.Lost)
			}
			fmt.Fprintf(s.stderr, "%-18s run %d/%d %-6s %9.0f %s  p50 %-9v p99 %v%s\n", r.name, i+1, s.runs, name, one.Rate, r.unit(),
				one.P50.Round(time.Microsecond), one.P99.Round(time.Microsecond), more)
		}
	}
	return samples, nil
}

// runOnce measures one load with fresh processes.
func (s *session) runOnce(ctx context.Context, name string, r row) (sample, error) {
	if r.pubsub() {
		return s.runBroadcast(ctx, name, r)
	}
	if r.tasks {
		return s.runWork(ctx, name, r)
	}
	l := load{Size: r.size, Conc: r.conc, Warm: s.warm, Window: s.window}
	// One round of the calls of a heavy row takes longer than either time.
	if r.size*r.conc >= heavy {
		l.Warm, l.Window = l.Warm/3, l.Window*2/3
	}
	var one reply
	err := s.withPair(ctx, name, l.Warm+l.Window+runSlack, func(_, client *process) (err error) {
		one, err = client.ask(request{Load: &l})
		return err
	})
	return one.Sample, err
}

// withPair runs use for at most limit with a fresh server and a client of it.
func (s *session) withPair(ctx context.Context, name string, limit time.Duration, use func(server, client *process) error) error {
	return within(ctx, name, limit, func(ctx context.Context) error {
		server, err := s.start(ctx, serverRole, name)
		if err != nil {
			return err
		}
		client, err := s.start(ctx, clientRole, name, "-addr", server.addr)
		if err != nil {
			return errors.Join(err, server.stop())
		}
		return errors.Join(use(server, client), client.stop(), server.stop())
	})
}

// within runs use for at most limit. Processes that use starts are killed when
// its context ends.
func within(ctx context.Context, name string, limit time.Duration, use func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s took longer than %v and was killed", name, limit))
	defer cancel()
	err := use(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// compareAllocs prints the ratio of allocations per call, server and client together.
func (s *session) compareAllocs(ctx context.Context) error {
	perCall := make(map[string]float64, 2)
	for _, name := range []string{s.self, allocPeer} {
		n, err := s.allocsPerCall(ctx, name)
		if err != nil {
			return fmt.Errorf("allocs/%dB: %w", allocSize, err)
		}
		perCall[name] = n
		fmt.Fprintf(s.stderr, "allocs/%dB %-5s %.1f allocations per call\n", allocSize, name, n)
	}
	fmt.Fprintf(s.stdout, "allocs/%dB\t%s\t%.2f\n", allocSize, allocPeer, perCall[s.self]/perCall[allocPeer])
	return nil
}

func (s *session) allocsPerCall(ctx context.Context, name string) (float64, error) {
	var total uint64
	err := s.withPair(ctx, name, 2*runSlack, func(server, client *process) error {
		if _, err := client.ask(request{Size: allocSize, Calls: allocWarm}); err != nil {
			return err
		}
		before, err := server.ask(request{Malloc: true})
		if err != nil {
			return err
		}
		counted, err := client.ask(request{Size: allocSize, Calls: allocCalls})
		if err != nil {
			return err
		}
		after, err := server.ask(request{Malloc: true})
		total = counted.Mallocs + after.Mallocs - before.Mallocs
		return err
	})
	return float64(total) / allocCalls, err
}

// ratioLine returns one line of the result: the median of self divided by peer,
// over pairs of runs that were next to each other in time.
func ratioLine(row, peer string, self, other []sample) string {
	calls := make([]float64, len(self))
	p99 := make([]float64, len(self))
	for i := range self {
		calls[i] = self[i].Rate / other[i].Rate
		p99[i] = float64(self[i].P99) / float64(other[i].P99)
	}
	return fmt.Sprintf("%s\t%s\t%.2f\t%.2f", row, peer, median(calls), median(p99))
}

// absoluteLine returns a line of row, peer, calls or deliveries per second, p50
// and p99 in microseconds, and for publish/subscribe the percentage lost.
func absoluteLine(r row, peer string, samples []sample) string {
	var rate, p50, p99, lost []float64
	for _, s := range samples {
		lost = append(lost, 100*s.Lost)
		rate = append(rate, s.Rate)
		p50 = append(p50, float64(s.P50)/float64(time.Microsecond))
		p99 = append(p99, float64(s.P99)/float64(time.Microsecond))
	}
	line := fmt.Sprintf("%s\t%s\t%.0f\t%.0f\t%.0f", r.name, peer, median(rate), median(p50), median(p99))
	if r.pubsub() {
		line += fmt.Sprintf("\t%.2f", median(lost))
	}
	return line
}

// median returns the median of v, and sorts v.
func median(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
