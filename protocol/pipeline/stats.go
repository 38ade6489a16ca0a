package pipeline

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// QueueStats is what a queue holds and has done.
type QueueStats struct {
	Stage string `json:"stage"`
	ID    string `json:"id"`
	// Depth counts the tasks that have not ended. The next fields divide them by state.
	Depth   int `json:"depth"`
	Waiting int `json:"waiting"`
	Delayed int `json:"delayed"`
	// Keyed counts the tasks that wait behind another one of their key, and those that are not
	// written yet or, after a restart, may still run at a worker.
	Keyed    int   `json:"keyed"`
	InFlight int   `json:"in_flight"`
	Bytes    int64 `json:"bytes"`
	// Oldest is the age of the oldest task.
	Oldest      time.Duration `json:"oldest"`
	DeadLetters int           `json:"dead_letters"`
	// DeadDropped counts the dead letters that were dropped because there were too many.
	DeadDropped uint64 `json:"dead_dropped"`

	Pushed uint64 `json:"pushed"`
	// Ended counts the tasks that have ended, by how they ended.
	Ended struct {
		Acked uint64 `json:"acked"`
		// Dead counts the tasks that became dead letters.
		Dead     uint64 `json:"dead"`
		Expired  uint64 `json:"expired"`
		Canceled uint64 `json:"canceled"`
		// Returned counts the tasks that were left when the queue was closed.
		Returned uint64 `json:"returned"`
	} `json:"ended"`
	// Failures counts failed attempts.
	Failures uint64 `json:"failures"`
	Releases uint64 `json:"releases"`
	Recalls  uint64 `json:"recalls"`
	// Duplicates counts pushes with the ID of another task.
	Duplicates uint64 `json:"duplicates"`
	// LateAcks counts acks from workers that had been given up.
	LateAcks uint64 `json:"late_acks"`

	// Disk is the folder of a durable queue. It is zero for a queue in memory.
	Disk struct {
		// Bytes is what the folder takes.
		Bytes int64 `json:"bytes"`
		// Live counts the bytes that belong to unfinished tasks and to dead letters.
		Live int64 `json:"live"`
		// Syncs counts how often the disk was synced.
		Syncs int64 `json:"syncs"`
		// Failed reports that the disk has failed and the queue is frozen, see [Queue.Err].
		Failed bool `json:"failed"`
	} `json:"disk"`
	Workers []WorkerStats `json:"workers"`
}

// WorkerStats is what a queue knows about one worker.
type WorkerStats struct {
	Instance  string `json:"instance"`
	Connected bool   `json:"connected"`
	// Slots is how many tasks the worker runs at once: its [Concurrency] times the most tasks of
	// a [Batch].
	Slots int `json:"slots"`
	// Window is how many tasks the worker may hold.
	Window   int `json:"window"`
	InFlight int `json:"in_flight"`
	// Service is a moving average of how long one task takes.
	Service time.Duration `json:"service"`
	Acked   uint64        `json:"acked"`
}

// PullerStats is what a worker holds and has done.
type PullerStats struct {
	Stage string `json:"stage"`
	// Producers counts the connected queues.
	Producers int `json:"producers"`
	// Concurrency is how many handlers may run at a time.
	Concurrency int `json:"concurrency"`
	// Running counts the tasks that handlers run, Queued those that have not begun.
	Running int `json:"running"`
	Queued  int `json:"queued"`
	// Service is a moving average of how long one task takes.
	Service  time.Duration `json:"service"`
	Done     uint64        `json:"done"`
	Failed   uint64        `json:"failed"`
	Released uint64        `json:"released"`
	Rejected uint64        `json:"rejected"`
	// Repeated counts deliveries of tasks that the worker had already.
	Repeated uint64 `json:"repeated"`
	// Overrun counts handlers that ran longer than they may.
	Overrun uint64 `json:"overrun"`
}

// Stats is the stats of the queues and workers of a node, at most 1000 of each: those with the
// most tasks.
type Stats struct {
	Queues  []QueueStats  `json:"queues"`
	Workers []PullerStats `json:"workers"`
	// Omitted counts the entries beyond these.
	Omitted int `json:"omitted,omitempty"`
}

// maxStats bounds the queues in a Stats, and its workers.
const maxStats = 1000

// Stats returns what the queue holds and has done.
func (q *Queue) Stats() QueueStats {
	q.mu.Lock()
	s, failed := q.tasks.State(q.clock.now().UnixNano()), q.failed != nil
	q.mu.Unlock()
	out := QueueStats{
		Stage: q.route.String(), ID: q.id, Depth: s.Depth, Waiting: s.Ready, Delayed: s.Delayed, Keyed: s.Keyed, InFlight: s.InFlight,
		Bytes: s.Bytes, Oldest: s.Oldest, DeadLetters: s.Dead, DeadDropped: s.DeadDropped,
		Pushed: s.Added, Failures: s.Failed, Releases: s.Released, Recalls: s.Recalled, Duplicates: s.Duplicates, LateAcks: s.Late,
	}
	out.Ended.Acked, out.Ended.Dead, out.Ended.Expired = s.Ends[queue.Acked], s.Ends[queue.DeadLettered], s.Ends[queue.Expired]
	out.Ended.Canceled, out.Ended.Returned = s.Ends[queue.Canceled], s.Ends[queue.Returned]
	out.Disk.Failed = failed
	if q.store != nil {
		d := q.store.log.Stats()
		out.Disk.Bytes, out.Disk.Live, out.Disk.Syncs = d.DiskBytes, d.LiveBytes, int64(d.Syncs)
	}
	for _, w := range s.Workers {
		out.Workers = append(out.Workers, WorkerStats{w.ID, w.Connected, w.Slots, w.Window, w.InFlight, w.Service, w.Acked})
	}
	slices.SortFunc(out.Workers, func(a, b WorkerStats) int { return strings.Compare(a.Instance, b.Instance) })
	return out
}

// Stats returns what the worker holds and has done.
func (w *Worker) Stats() PullerStats {
	w.mu.Lock()
	s := w.pool.State()
	w.mu.Unlock()
	return PullerStats{
		Stage: w.route.String(), Producers: s.Producers, Concurrency: s.Slots, Running: s.Running, Queued: s.Queued, Service: s.Service,
		Done: s.Done, Failed: s.Failed, Released: s.Released, Rejected: s.Rejected, Repeated: s.Repeated, Overrun: s.Overrun,
	}
}

// StatsOf returns the stats of the queues and workers of a node, sorted by stage.
func StatsOf(node *link.Node) Stats {
	s := systemOf(node)
	s.mu.Lock()
	queues, workers := slices.Clone(s.queues), slices.Clone(s.workers)
	s.mu.Unlock()
	var out Stats
	for _, q := range queues {
		out.Queues = append(out.Queues, q.Stats())
	}
	for _, w := range workers {
		out.Workers = append(out.Workers, w.Stats())
	}
	out.trim()
	slices.SortStableFunc(out.Queues, func(a, b QueueStats) int { return strings.Compare(a.Stage, b.Stage) })
	slices.SortStableFunc(out.Workers, func(a, b PullerStats) int { return strings.Compare(a.Stage, b.Stage) })
	return out
}

func (s *Stats) trim() {
	if n := len(s.Queues) - maxStats; n > 0 {
		slices.SortStableFunc(s.Queues, func(a, b QueueStats) int { return b.Depth - a.Depth })
		s.Queues, s.Omitted = s.Queues[:maxStats], n
	}
	if n := len(s.Workers) - maxStats; n > 0 {
		slices.SortStableFunc(s.Workers, func(a, b PullerStats) int { return b.Queued - a.Queued })
		s.Workers, s.Omitted = s.Workers[:maxStats], s.Omitted+n
	}
}

// QueryStats asks an instance of a service for the stats of its queues and workers: any
// instance, or the one that opts choose. A node answers once it has its first queue or
// worker. Errors are those of [link.Host.Call], and PermissionDenied if the rule of
// [Authorize] refuses.
func QueryStats(ctx context.Context, node *link.Node, service string, opts ...link.CallOption) (Stats, error) {
	var s Stats
	err := link.HostOf(node).Call(ctx, statsRoute(service), &struct{}{}, &s, opts...)
	return s, err
}

func statsRoute(service string) link.Route {
	return link.Route{Service: service, Name: "link.sys/queues", Kind: link.KindMethod, Level: link.ReadOnly}
}

func (q *Queue) seqOf(id string) (uint64, bool) {
	rest, ok := strings.CutPrefix(id, q.id+"-")
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseUint(rest, 10, 64)
	return seq, err == nil
}
