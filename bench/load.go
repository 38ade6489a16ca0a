package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// callTimeout is the deadline of every call of every peer.
const callTimeout = 5 * time.Second

// A load is what a client process is told to do: keep Conc calls with payloads
// of Size bytes in flight for Warm, and then for Window, in which they count.
type load struct {
	Size   int           `json:"size"`
	Conc   int           `json:"conc"`
	Warm   time.Duration `json:"warm"`
	Window time.Duration `json:"window"`
}

// A sample is the result of one run.
type sample struct {
	// Rate is in calls or deliveries per second.
	Rate float64       `json:"rate"`
	P50  time.Duration `json:"p50"`
	P99  time.Duration `json:"p99"`
	// Lost is the share of the published messages that did not arrive, 0 to 1.
	Lost float64 `json:"lost"`

	// CPU is the processor time that all processes used per delivery, including
	// their start. Zero means unknown.
	CPU time.Duration `json:"cpu"`
	// received is the number of deliveries.
	received uint64
}

// drive runs one load. It stops at the first call that fails and returns its error.
//
// A call that overlaps the edge of the window counts for the share of its time
// inside, so calls that take about as long as the window (1 MiB at 256 in
// flight) give the same rate as a longer window would. Percentiles are exact,
// over every call that was at least partly inside.
func drive(ctx context.Context, c caller, l load) (sample, error) {
	payload := make([]byte, l.Size)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	from := time.Now().Add(l.Warm)
	to := from.Add(l.Window)
	took := make([][]time.Duration, l.Conc)
	calls := make([]float64, l.Conc)
	var workers sync.WaitGroup
	for i := range l.Conc {
		workers.Go(func() {
			for {
				start := time.Now()
				if !start.Before(to) || ctx.Err() != nil {
					return
				}
				if err := callOnce(ctx, c, payload); err != nil {
					fail(err)
					return
				}
				end := time.Now()
				if inside := overlap(start, end, from, to); inside > 0 {
					took[i] = append(took[i], end.Sub(start))
					calls[i] += float64(inside) / float64(end.Sub(start))
				}
			}
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return sample{}, err
	}
	return summarize(slices.Concat(took...), calls, l.Window)
}

// callOnce makes one call with callTimeout, and checks the length of its reply.
func callOnce(ctx context.Context, c caller, payload []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := c.call(ctx, payload)
	if err != nil {
		return err
	}
	if len(reply) != len(payload) {
		return fmt.Errorf("the echo of %d bytes has %d bytes", len(payload), len(reply))
	}
	return nil
}

// overlap returns how much of [start, end] lies inside [from, to]. It is
// negative if they do not overlap.
func overlap(start, end, from, to time.Time) time.Duration {
	if start.Before(from) {
		start = from
	}
	if end.After(to) {
		end = to
	}
	return end.Sub(start)
}

func summarize(took []time.Duration, calls []float64, window time.Duration) (sample, error) {
	if len(took) == 0 {
		return sample{}, errors.New("no call ended inside the window; make -window longer")
	}
	var sum float64
	for _, n := range calls {
		sum += n
	}
	slices.Sort(took)
	return sample{
		Rate: sum / window.Seconds(),
		P50:  percentile(took, 50),
		P99:  percentile(took, 99),
	}, nil
}

// percentile returns the smallest value of sorted that at least p percent of
// the values do not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// countAllocs makes calls one after the other and returns how many heap
// objects this process allocated in that time.
func countAllocs(ctx context.Context, c caller, size, calls int) (uint64, error) {
	payload := make([]byte, size)
	before := mallocs()
	for range calls {
		if err := callOnce(ctx, c, payload); err != nil {
			return 0, err
		}
	}
	return mallocs() - before, nil
}

// mallocs returns the number of heap objects that this process has allocated
// since its start.
func mallocs() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}
