package journal

import (
	"math"
	"time"
	"unsafe"

	pool "github.com/linkmesh/link/internal/share"
)

// window is what an AtLeastOnce cursor has delivered and waits to be acked for. What a
// subscriber says of it changes no more than what it speaks of, however much waits: that
// it lives is a time, and that it is lost and comes back is a number.
type window struct {
	log    *Log
	limits Limits
	lease  int64
	holder *pool.Holder // holds a part of Options.Unacked
	list   deliveries   // by number
	bytes  int          // bytes of records in list
	cost   int          // counted with the holder: what it costs to keep all of these, and spare
	spare  int          // the part of cost that is for the next message
	need   int          // what the next message costs, if there was no room for it

	leases   *leases         // with the subscriber
	lapsed   heap[*delivery] // wait for their time because their leases have ended
	later    heap[*delivery] // wait for their time
	due      heap[*delivery] // wait, and it is time
	alive    int64           // no lease ends before; the subscriber has said that it lives
	forgives bool            // it was alive when leases ended: those that have lapsed are due

	last [Lanes]uint64 // the newest number sent
	free []*delivery

	sends    uint64 // deliveries so far, which number them
	received uint64 // the last of these that the subscriber is known to have
	// before is the last of these on an earlier stream: what was with the subscriber then is
	// lost, and due again. Lost is how many there are, and lostFrom and unsentFrom are where
	// to look for them and for those of any kind that were not sent on this stream.
	before               uint64
	lost                 int
	lostFrom, unsentFrom uint64
	owned                uint64 // deliveries with lesser numbers keep no others in memory
	// Gaps that the subscriber may not have received, counted in cost; and how many it was told
	// of in this session before these.
	gaps []toldGap
	few  int // how many were left of those that became few last
	told uint64

	looked uint64 // deliveries that were looked at beside the one that was meant
}

const never = math.MaxInt64

// What it costs to keep a message in a window, beside its record: deliveryCost for what
// finds it and a record of its own, attemptCost for each failure, and its cause.
const (
	deliveryCost = int(unsafe.Sizeof(delivery{})+unsafe.Sizeof(slab{})) + 32
	attemptCost  = int(unsafe.Sizeof(Attempt{}))
)

// maxFree is how many deliveries that have ended are kept for the next messages.
const maxFree = 1024

func newWindow(l *Log, s *Subscription) *window {
	if s.Class != AtLeastOnce {
		return nil
	}
	return &window{
		log: l, limits: s.Limits, lease: int64(s.Lease), holder: l.unacked.Holder(s.Who), leases: newLeases(),
		lapsed: newHeap(byTime), later: newHeap(byTime), due: newHeap(byNumber),
	}
}

// end gives back what the window takes, with all that is in it.
func (w *window) end() {
	w.grow(-w.cost)
	w.bytes, w.spare, w.list, w.gaps = 0, 0, deliveries{}, nil
	w.holder.Release()
}

// waits reports whether a delivery is not with the subscriber.
func (w *window) waits(d *delivery) bool { return d.place != leased || w.isLost(d) }

// isLost reports whether it was with the subscriber on an earlier stream.
func (w *window) isLost(d *delivery) bool { return d.place == leased && d.order <= w.before }

// room reports whether a message of a size may be delivered: whether the limits allow it,
// and the part of Options.Unacked that the holder has. Who has nothing gets one all the
// same. The room is the next message's then.
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

// hosts reports whether a delivery of a member that has left may wait here: half of the window is for
// what its own subscriber gets.
func (w *window) hosts(d *delivery) bool {
	return w.list.n < w.limits.Messages/2 && w.bytes < w.limits.Bytes/2 && w.room(d.size)
}

// mayHaveRoom reports whether it is worth to look whether there is room again.
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

// grow counts what it costs to keep messages, or no more.
func (w *window) grow(cost int) {
	w.cost += cost
	w.holder.Add(int64(cost))
}

// keepOld makes deliveries that have left the ring their own, so that they keep no others
// in memory, at most n, and reports whether that was all.
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

// insert puts a delivery into the list, and into the room that was made for it.
func (w *window) insert(d *delivery) {
	w.list.insert(d)
	w.bytes += int(d.size)
	spare := min(w.spare, d.cost())
	w.spare -= spare
	w.grow(d.cost() - spare)
}

// again starts a lease for one more delivery, and returns which one it is.
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

// take takes a delivery from its place.
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

// retry makes a delivery wait for its next time.
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

// lose makes all that is with the subscriber lost, and due again.
func (w *window) lose() {
	w.before, w.lostFrom, w.unsentFrom = w.sends, 0, 0
	w.lost += w.leases.n
	w.leases = newLeases() // those that are lost keep the old one
	w.forgives = len(w.lapsed.list) > 0
}

// seek returns the first delivery with a number of at least seq that is to be sent on this
// stream and was not, nil if there is none; of those that are lost, if lost says so.
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

// unsent returns the least number that was sent on an earlier stream and not yet on this
// one, so that nobody knows whether the subscriber has it.
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

// remove takes a delivery out of the window.
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

// stepsAtOnce is how many deliveries change at once because of the time, before others can
// have the lock.
const stepsAtOnce = 256

// ready returns the delivery with the least number that is due again, nil if none is.
// Of more than stepsAtOnce whose time comes at once, it is the least of those.
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

// leaseEnd is when the next lease ends.
func (w *window) leaseEnd() int64 {
	if d := w.leases.first(); d != nil {
		return max(d.due, w.alive)
	}
	return never
}

// retryAt is when the next delivery is due again.
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

// backoff returns how long the next delivery waits when that many have failed.
func backoff(steps []time.Duration, failed int) time.Duration {
	return steps[min(max(failed, 1), len(steps))-1]
}
