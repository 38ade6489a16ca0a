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

// A load is what a client process is told to do.
type load struct {
	Size   int           `json:"size"`   // bytes of the payload
	Conc   int           `json:"conc"`   // calls in flight
	Warm   time.Duration `json:"warm"`   // calls before this are not counted
	Window time.Duration `json:"window"` // how long calls are counted
}

// A sample is what a load showed.
type sample struct {
	Rate float64       `json:"rate"` // calls or deliveries per second
	P50  time.Duration `json:"p50"`
	P99  time.Duration `json:"p99"`
	Lost float64       `json:"lost"` // share of what was published to subscribers, 0 to 1

	// CPU is what all processes have used per delivery, their start included; 0 is
	// not known.
	CPU      time.Duration `json:"cpu"`
	received uint64        // deliveries
}

// drive runs one load. The first call that fails stops it and is the error.
//
// A call that the edge of the window cuts counts for the share of its time
// that lies inside; so calls that take about as long as the window (1 MiB at
// 256 in flight) give the same rate as a longer window would. Percentiles are
// exact, over every call that was at least partly inside.
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

// callOnce makes one checked call under the common deadline.
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

// overlap is how much of [start, end] lies inside [from, to]; negative is none.
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

// percentile is the smallest value that p percent of sorted are not above.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// countAllocs makes calls one after the other and returns how many heap
// objects this process allocated meanwhile.
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

// mallocs is the number of heap objects this process has ever allocated.
func mallocs() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}
