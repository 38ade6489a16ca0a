package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	// runSlack is what a run may take beyond its load before it is killed.
	runSlack = 30 * time.Second

	allocSize  = 64    // bytes
	allocWarm  = 2000  // calls before counting: pools and buffers are filled
	allocCalls = 20000 // calls that are counted
	allocPeer  = "grpc"
)

// A session is one execution of the command.
type session struct {
	options

	exe      string
	material material
	secret   string // LINK_CLUSTER_SECRET of every child
	stdout   io.Writer
	stderr   io.Writer
}

// compareRows measures rows and prints a line per row and peer. A row in which
// a call fails is given up with a message, and the others go on.
// field[0] is self.
// heavy is the bytes in flight from which a row is measured for a shorter time,
// so that each row takes under 45 s.
const heavy = 64 << 20

func (s *session) compareRows(ctx context.Context, rows []row, field []string) error {
	book := results{self: field[0]}
	var failed []error
	for _, r := range rows {
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
		self := samples[field[0]]
		for _, name := range field {
			book.absolute = append(book.absolute, absoluteLine(r.name, name, samples[name]))
			if name == field[0] {
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
			fmt.Fprintf(s.stderr, "%-16s run %d/%d %-5s %9.0f calls/s  p50 %-9v p99 %v\n", r.name, i+1, s.runs, name,
				one.Rate, one.P50.Round(time.Microsecond), one.P99.Round(time.Microsecond))
		}
	}
	return samples, nil
}

// runOnce measures one load with fresh processes.
func (s *session) runOnce(ctx context.Context, name string, r row) (sample, error) {
	l := load{Size: r.size, Conc: r.conc, Warm: s.warm, Window: s.window}
	if r.size*r.conc >= heavy { // one round of calls is longer than either
		l.Warm, l.Window = l.Warm/3, l.Window*2/3
	}
	var one reply
	err := s.withPair(ctx, name, l.Warm+l.Window+runSlack, func(_, client *process) (err error) {
		one, err = client.ask(request{Load: &l})
		return err
	})
	return one.Sample, err
}

// withPair runs use with a fresh server and a client of it, for at most limit.
func (s *session) withPair(ctx context.Context, name string, limit time.Duration, use func(server, client *process) error) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s took longer than %v and was killed", name, limit))
	defer cancel()
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	}()
	server, err := s.start(ctx, serverSide, name, "")
	if err != nil {
		return err
	}
	client, err := s.start(ctx, clientSide, name, server.addr)
	if err != nil {
		return errors.Join(err, server.stop())
	}
	return errors.Join(use(server, client), client.stop(), server.stop())
}

// compareAllocs prints the ratio of allocations per call, both sides together.
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

// ratioLine is one line of the result: the median, over runs next to each
// other in time, of self divided by peer.
func ratioLine(row, peer string, self, other []sample) string {
	calls := make([]float64, len(self))
	p99 := make([]float64, len(self))
	for i := range self {
		calls[i] = self[i].Rate / other[i].Rate
		p99[i] = float64(self[i].P99) / float64(other[i].P99)
	}
	return fmt.Sprintf("%s\t%s\t%.2f\t%.2f", row, peer, median(calls), median(p99))
}

// absoluteLine is row, peer, calls per second, p50 and p99 in microseconds.
func absoluteLine(row, peer string, samples []sample) string {
	var rate, p50, p99 []float64
	for _, s := range samples {
		rate = append(rate, s.Rate)
		p50 = append(p50, float64(s.P50)/float64(time.Microsecond))
		p99 = append(p99, float64(s.P99)/float64(time.Microsecond))
	}
	return fmt.Sprintf("%s\t%s\t%.0f\t%.0f\t%.0f", row, peer, median(rate), median(p50), median(p99))
}

// median changes the order of v.
func median(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
