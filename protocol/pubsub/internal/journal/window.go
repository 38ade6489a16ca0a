package journal

import (
	"math"
	"time"
	"unsafe"

	pool "github.com/linkmesh/link/internal/share"
)

// window has the messages that an AtLeastOnce cursor has delivered and that wait for acks. An
// answer changes only the deliveries that it names, however many wait: that the subscriber is
// alive is a time, and that it was lost and comes back is a number.
type window struct {
	log    *Log
	limits Limits
	lease  int64
	list   deliveries
	charge

	// leases are with the subscriber, lapsed wait because their leases have ended, later
	// wait for another reason, and due are to be delivered again now.
	leases *leases
	lapsed heap[*delivery]
	later  heap[*delivery]
	due    heap[*delivery]
	// alive is a time before which no lease ends: the subscriber has said that it is alive.
	alive int64
	// forgives is set if the subscriber was alive when leases ended: lapsed ones are due.
	forgives bool

	// last is the newest number sent in each lane.
	last [Lanes]uint64
	free []*delivery

	sendings
	// owned is a number below which no delivery keeps other records in memory.
	owned uint64
	// gaps has the gaps that the subscriber may not have received. few is how many were left
	// when gaps were last condensed. told is how many gaps were told in this session before
	// these.
	gaps []toldGap
	few  int
	told uint64

	// looked counts deliveries that were looked at besides the one that was meant.
	looked uint64
}

// charge is the memory that a window takes.
type charge struct {
	// holder holds a part of Options.Unacked.
	holder *pool.Holder
	// bytes is the size of the records in the list.
	bytes int
	// cost is what the holder is charged for the list, gaps and spare.
	cost int
	// spare is the part of cost that is reserved for the next message.
	spare int
	// need is what the next message costs, if there was no room for it.
	need int
}

// sendings are the deliveries of a window in the order in which they were sent.
type sendings struct {
	// sends counts the deliveries, and numbers them. received is the last delivery that the
	// subscriber is known to have.
	sends    uint64
	received uint64
	// before is the last delivery on an earlier stream. What was with the subscriber then is
	// lost, and due again. lost is how many deliveries are lost. lostFrom and unsentFrom are
	// where to look for these, and for any that were not sent on this stream.
	before               uint64
	lost                 int
	lostFrom, unsentFrom uint64
}

const never = math.MaxInt64

// What it costs to keep a message in a window, besides its record: deliveryCost for the
// delivery, what finds it, and a slab of its own; attemptCost and the cause for each failure.
const (
	deliveryCost = int(unsafe.Sizeof(delivery{})+unsafe.Sizeof(slab{})) + 32
	attemptCost  = int(unsafe.Sizeof(Attempt{}))
)

// maxFree is how many ended deliveries are kept for the next messages.
const maxFree = 1024

func newWindow(l *Log, s *Subscription) *window {
	if s.Class != AtLeastOnce {
		return nil
	}
	return &window{
		log: l, limits: s.Limits, lease: int64(s.Lease), charge: charge{holder: l.unacked.Holder(s.Who)}, leases: newLeases(),
		lapsed: newHeap(byTime), later: newHeap(byTime), due: newHeap(byNumber),
	}
}

// end drops everything in the window, and gives back what it takes.
func (w *window) end() {
	w.grow(-w.cost)
	w.bytes, w.spare, w.list, w.gaps = 0, 0, deliveries{}, nil
	w.holder.Release()
}

// waits reports whether a delivery is not with the subscriber.
func (w *window) waits(d *delivery) bool { return d.place != leased || w.isLost(d) }

// isLost reports whether a delivery was with the subscriber on an earlier stream.
func (w *window) isLost(d *delivery) bool { return d.place == leased && d.order <= w.before }

// room reports whether the limits, and the holder's part of Options.Unacked, allow a message of
// this size to be delivered. An empty window gets one message even if the holder may have no
// more. room reserves what it allows for the next message.
func (w *window) room(size uint32) bool {
	if w.list.n >= w.limits.Messages || w.bytes >= w.limits.Bytes {
		return false
	}
	more := int(size) + deliveryCost - w.spare
	if more <= 0 {
		return true
	}
	if w.list.n > 0 && w.holder.Take(int64(more)) != nil {
		w.need = int(size) + deliveryCost
		w.log.throttled.Add(1)
		return false
	}
	if w.list.n == 0 {
		w.holder.Add(int64(more))
	}
	w.cost += more
	w.spare += more
	return true
}

// hosts reports whether a delivery of a member that has left may wait here. Half of the window is
// kept for what its own subscriber gets.
func (w *window) hosts(d *delivery) bool {
	return w.list.n < w.limits.Messages/2 && w.bytes < w.limits.Bytes/2 && w.room(d.size)
}

// mayHaveRoom reports whether it is worth looking for room again.
func (w *window) mayHaveRoom() bool {
	if w.list.n >= w.limits.Messages || w.bytes >= w.limits.Bytes {
		return false
	}
	if w.list.n == 0 || w.holder.Take(int64(w.need)) != nil {
		return w.list.n == 0
	}
	w.holder.Give(int64(w.need))
	return true
}

// grow counts a cost, or gives it back if it is negative.
func (w *window) grow(cost int) {
	w.cost += cost
	w.holder.Add(int64(cost))
}

// keepOld copies the records of at most n deliveries that have left the ring, so that these
// keep no other records in memory. It reports whether none is left.
func (w *window) keepOld(first uint64, n int) bool {
	w.list.from(w.owned, func(d *delivery) bool {
		if d.seq >= first || n == 0 {
			return false
		}
		d.keep()
		w.owned = d.seq + 1
		n--
		return true
	})
	return n > 0
}

// add enters the first delivery of a message.
func (w *window) add(seq uint64, e *entry, s *slab, at int64) {
	var d *delivery
	if n := len(w.free); n > 0 {
		d, w.free = w.free[n-1], w.free[:n-1]
	} else {
		d = &delivery{}
	}
	*d = delivery{
		seq: seq, topic: e.topic, slab: s, off: e.off, size: e.size, hash: e.hash, clock: e.clock, lane: e.lane,
		expires: e.expires, own: len(s.b) == int(e.size),
	}
	w.insert(d)
	w.again(d, at)
}

// insert adds a delivery to the list, and uses the room that was reserved for it.
func (w *window) insert(d *delivery) {
	w.list.insert(d)
	w.bytes += int(d.size)
	spare := min(w.spare, d.cost())
	w.spare -= spare
	w.grow(d.cost() - spare)
}

// again starts a lease for one more delivery of a message, and returns its number, 1 for the
// first.
func (w *window) again(d *delivery, at int64) int {
	w.take(d)
	d.sent, d.due, d.avoid = at, at+w.lease, nil
	d.attempt = min(d.attempt+1, maxAttempt)
	w.sends++
	d.order = w.sends
	d.place = leased
	w.leases.add(d)
	c := w.list.chunks[w.list.chunkOf(d.seq)]
	c.least = min(c.least, d.order)
	w.last[d.lane] = max(w.last[d.lane], d.seq)
	return d.attempt
}

// take takes a delivery from its spot.
func (w *window) take(d *delivery) {
	switch d.place {
	case nowhere:
	case leased:
		if w.isLost(d) {
			w.lost--
			d.unlink()
		} else {
			w.leases.remove(d)
		}
	case lapsed:
		w.lapsed.remove(d.slot)
	case later:
		w.later.remove(d.slot)
	case due:
		w.due.remove(d.slot)
	}
	d.place = nowhere
}

// retry makes a delivery wait until it is due again.
func (w *window) retry(d *delivery, at int64) { w.wait(d, at, later) }

func (w *window) wait(d *delivery, at int64, in spot) {
	w.take(d)
	d.due, d.place = at, in
	if in == lapsed {
		w.lapsed.push(d)
	} else {
		w.later.push(d)
	}
}

// lose makes every delivery that is with the subscriber lost, and due again.
func (w *window) lose() {
	w.before, w.lostFrom, w.unsentFrom = w.sends, 0, 0
	w.lost += w.leases.n
	// The lost deliveries stay in the old list.
	w.leases = newLeases()
	w.forgives = len(w.lapsed.list) > 0
}

// seek returns the first delivery with a number of at least seq that was not yet sent on this
// stream, nil if there is none. If lost is set, it considers only lost deliveries.
func (w *window) seek(seq uint64, lost bool) (found *delivery) {
	w.list.from(seq, func(d *delivery) bool {
		w.looked++
		if d.order <= w.before && (!lost || w.isLost(d)) {
			found = d
		}
		return found == nil
	})
	return found
}

// unsent returns the least number that was sent on an earlier stream and not yet on this one,
// so that it is unknown whether the subscriber has it. It returns never if there is none.
func (w *window) unsent() uint64 {
	if w == nil || w.before == 0 || w.unsentFrom == never {
		return never
	}
	d := w.seek(w.unsentFrom, false)
	if w.unsentFrom = never; d != nil {
		w.unsentFrom = d.seq
	}
	return w.unsentFrom
}

func (w *window) find(seq uint64) *delivery { return w.list.find(seq) }

// remove removes a delivery from the window.
func (w *window) remove(d *delivery) {
	w.take(d)
	w.list.remove(d)
	w.bytes -= int(d.size)
	w.grow(-d.cost())
	if w.list.n == 0 {
		w.grow(-w.spare)
		w.spare = 0
	}
}

// recycle makes a removed delivery available for the next message.
func (w *window) recycle(d *delivery) {
	*d = delivery{}
	if len(w.free) < maxFree {
		w.free = append(w.free, d)
	}
}

// stepsAtOnce is how many deliveries, tasks or gaps long work handles before others can have
// the lock.
const stepsAtOnce = 256

// ready returns the delivery with the least number that is due again, nil if none is. If more
// than stepsAtOnce become due at once, it considers only so many of them.
func (w *window) ready(at int64) *delivery {
	for range stepsAtOnce {
		from := &w.later
		if len(from.list) == 0 || len(w.lapsed.list) > 0 && byTime(w.lapsed.list[0], from.list[0]) {
			from = &w.lapsed
		}
		if len(from.list) == 0 || from.list[0].due > at {
			break
		}
		d := from.pop()
		d.place = due
		w.due.push(d)
	}
	var found *delivery
	if w.lost > 0 {
		if found = w.seek(w.lostFrom, true); found != nil {
			w.lostFrom = found.seq
		}
	}
	if len(w.due.list) > 0 && (found == nil || w.due.list[0].seq < found.seq) {
		return w.due.list[0]
	}
	return found
}

// leaseEnd returns when the next lease ends, never if there is none.
func (w *window) leaseEnd() int64 {
	if d := w.leases.first(); d != nil {
		return max(d.due, w.alive)
	}
	return never
}

// retryAt returns when the next delivery is due again: 0 if one is due now, never if there is
// none.
func (w *window) retryAt() int64 {
	if w.lost > 0 || w.forgives || len(w.due.list) > 0 {
		return 0
	}
	at := int64(never)
	for _, h := range []*heap[*delivery]{&w.lapsed, &w.later} {
		if len(h.list) > 0 {
			at = min(at, h.list[0].due)
		}
	}
	return at
}

// ended returns a delivery whose lease has ended, nil if there is none.
func (w *window) ended(at int64) *delivery {
	if at < w.leaseEnd() {
		return nil
	}
	return w.leases.first()
}

// backoff returns how long the next delivery waits after so many have failed.
func backoff(steps []time.Duration, failed int) time.Duration {
	return steps[min(max(failed, 1), len(steps))-1]
}
