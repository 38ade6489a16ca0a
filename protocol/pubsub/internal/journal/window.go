package journal

import (
	"math"
	"slices"
	"sort"
	"time"
)

// window is what an AtLeastOnce cursor has delivered and waits to be acked for.
type window struct {
	log      *Log
	limits   Limits
	lease    int64
	list     []*delivery // by number
	bytes    int
	last     [Lanes]uint64 // the newest number sent
	leaseEnd int64         // no lease ends before
	retryAt  int64         // no delivery is due again before
	free     []*delivery

	sends    uint64 // deliveries so far, which number them
	received uint64 // the last of these that the subscriber is known to have
	before   uint64 // the last of these on an earlier stream, if some of those are still to be sent on this one
	// Gaps that the subscriber was told of, and may not have received; and how many it was
	// told of in this session before these.
	gaps []toldGap
	told uint64
}

// toldGap is a gap that was told, and sends at that time.
type toldGap struct {
	Gap
	after uint64
}

// maxTold is how many gaps a window remembers that the subscriber may not have
// received. One that was told that many gaps ago has arrived: a subscriber has at most
// 64 frames on their way to it.
const maxTold = 1024

const never = math.MaxInt64

// delivery is a message in a window. It holds its record, whether or not the ring does.
type delivery struct {
	seq     uint64
	topic   *topic
	slab    *slab
	off     uint32
	size    uint32
	hash    uint32
	clock   uint32
	lane    uint8
	waits   bool  // for its next delivery; otherwise it is the subscriber's
	own     bool  // the slab is of its own
	expires int64 // end of its TTL; 0 is never
	due     int64 // end of the lease, or time of the next delivery
	sent    int64
	attempt int
	failed  int // failed deliveries that count to Subscription.Deliveries
	history []Attempt
	order   uint64  // number among all deliveries of the window
	avoid   *Cursor // for a group: who released it
}

func newWindow(l *Log, s *Subscription) *window {
	if s.Class != AtLeastOnce {
		return nil
	}
	return &window{log: l, limits: s.Limits, lease: int64(s.Lease), leaseEnd: never, retryAt: never}
}

func (d *delivery) record() []byte { return d.slab.b[d.off : d.off+d.size] }

func (d *delivery) head() head {
	return head{seq: d.seq, topic: d.topic, clock: d.clock, record: d.record(), delivery: d}
}

// keep makes the delivery's record its own, so that it does not keep others in memory.
func (d *delivery) keep() {
	if !d.own {
		d.slab, d.off, d.own = &slab{b: slices.Clone(d.record())}, 0, true
	}
}

// forgive takes back that leases have ended since the subscriber was heard last: it was
// alive, and could not say so. It reports whether any had.
func (d *delivery) forgive() (some bool) {
	for i := len(d.history) - 1; i >= 0 && d.history[i].Outcome == LeaseEnded; i-- {
		d.history[i].Outcome = Disconnected
		d.failed--
		some = true
	}
	return some
}

func (w *window) full() bool {
	return len(w.list) >= w.limits.Messages || w.bytes >= w.limits.Bytes || w.throttled()
}

// throttled reports whether the windows of all subscriptions have no room for more. A
// subscription that has nothing still gets one message.
func (w *window) throttled() bool {
	return len(w.list) > 0 && w.log.unacked.Load() >= int64(w.log.opts.Unacked)
}

// grow counts bytes that wait for an ack or, if bytes is negative, no longer do.
func (w *window) grow(bytes int) {
	w.bytes += bytes
	w.log.unacked.Add(int64(bytes))
}

// keepOld makes deliveries that have left the ring their own, so that they keep no others
// in memory.
func (w *window) keepOld(first uint64) {
	for _, d := range w.list[:w.search(first)] {
		d.keep()
	}
}

// add enters the first delivery of a message.
func (w *window) add(seq uint64, e *entry, s *slab, at int64) {
	d := &delivery{}
	if n := len(w.free); n > 0 {
		d, w.free = w.free[n-1], w.free[:n-1]
	}
	*d = delivery{
		seq: seq, topic: e.topic, slab: s, off: e.off, size: e.size, hash: e.hash, clock: e.clock, lane: e.lane,
		expires: e.expires, own: len(s.b) == int(e.size),
	}
	w.insert(d)
	w.again(d, at)
}

func (w *window) insert(d *delivery) {
	i := len(w.list)
	if i > 0 && w.list[i-1].seq > d.seq {
		i = w.search(d.seq)
	}
	w.list = slices.Insert(w.list, i, d)
	w.grow(int(d.size))
}

// again starts a lease for one more delivery, and returns which one it is.
func (w *window) again(d *delivery, at int64) int {
	d.waits, d.sent, d.due, d.avoid = false, at, at+w.lease, nil
	d.attempt = min(d.attempt+1, maxAttempt)
	w.sends++
	d.order = w.sends
	w.leaseEnd = min(w.leaseEnd, d.due)
	w.last[d.lane] = max(w.last[d.lane], d.seq)
	return d.attempt
}

// unsent returns the least number that was sent on an earlier stream and not yet on this
// one, so that nobody knows whether the subscriber has it.
func (w *window) unsent() uint64 {
	if w == nil || w.before == 0 {
		return never
	}
	for _, d := range w.list {
		if d.order <= w.before {
			return d.seq
		}
	}
	w.before = 0
	return never
}

// search returns the index of the first delivery with a number of at least seq.
func (w *window) search(seq uint64) int {
	return sort.Search(len(w.list), func(i int) bool { return w.list[i].seq >= seq })
}

func (w *window) find(seq uint64) *delivery {
	if i := w.search(seq); i < len(w.list) && w.list[i].seq == seq {
		return w.list[i]
	}
	return nil
}

// remove takes a delivery out of the window.
func (w *window) remove(d *delivery) {
	i := w.search(d.seq)
	w.list = slices.Delete(w.list, i, i+1)
	w.grow(-int(d.size))
}

// tell notes that the subscriber was told of a gap.
func (w *window) tell(g Gap) {
	if len(w.gaps) >= maxTold {
		w.heard(w.told + 1)
	}
	w.gaps = append(w.gaps, toldGap{g, w.sends})
}

// heard notes how many gaps the subscriber has received in this session.
func (w *window) heard(gaps uint64) {
	if n := int(min(gaps-min(gaps, w.told), uint64(len(w.gaps)))); n > 0 {
		w.gaps = slices.Delete(w.gaps, 0, n)
		w.told += uint64(n)
	}
}

// answered notes that the subscriber has received a delivery, and so all that was
// written to its stream before.
func (w *window) answered(d *delivery) {
	if d.waits {
		return // the answer is to an earlier delivery
	}
	w.received = max(w.received, d.order)
	n := 0
	for n < len(w.gaps) && w.gaps[n].after < w.received {
		n++
	}
	w.heard(w.told + uint64(n))
}

// recycle makes a removed delivery available for the next message.
func (w *window) recycle(d *delivery) {
	*d = delivery{}
	w.free = append(w.free, d)
}

// retry makes a delivery wait for its next time.
func (w *window) retry(d *delivery, at int64) {
	d.waits, d.due = true, at
	d.keep()
	w.retryAt = min(w.retryAt, at)
}

// ready returns the delivery with the least number that is due again, nil if none is.
func (w *window) ready(at int64) *delivery {
	if at < w.retryAt {
		return nil
	}
	w.retryAt = never
	for _, d := range w.list {
		if !d.waits {
			continue
		}
		w.retryAt = min(w.retryAt, d.due)
		if d.due <= at {
			return d
		}
	}
	return nil
}

// ended returns a delivery whose lease has ended, nil if there is none.
func (w *window) ended(at int64) *delivery {
	if at < w.leaseEnd {
		return nil
	}
	w.leaseEnd = never
	for _, d := range w.list {
		if d.waits {
			continue
		}
		w.leaseEnd = min(w.leaseEnd, d.due)
		if d.due <= at {
			return d
		}
	}
	return nil
}

// backoff returns how long the next delivery waits after failed ones.
func backoff(steps []time.Duration, failed int) time.Duration {
	return steps[min(max(failed, 1), len(steps))-1]
}
