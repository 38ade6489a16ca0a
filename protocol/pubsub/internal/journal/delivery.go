package journal

import (
	"slices"
)

// delivery is a message in a window. It holds its record, whether or not the ring does.
type delivery struct {
	seq   uint64
	topic *topic
	slab  *slab
	off   uint32
	size  uint32
	hash  uint32
	clock uint32
	lane  uint8
	// own is set when the slab holds no other record.
	own   bool
	place spot
	links
	// expires is when the TTL ends; 0 means never.
	expires int64
	// due is when the lease ends, or when the next delivery is due.
	due     int64
	sent    int64
	attempt int
	// failed counts the failed deliveries against Subscription.Deliveries.
	failed  int
	history []Attempt
	// causes is the total bytes of the causes in history.
	causes int
	// order is the number of the last delivery among all deliveries of the window.
	order uint64
	// avoid is the member of a group that released the message.
	avoid *Cursor
}

// links are where a delivery is in the lists of its window.
type links struct {
	// slot is the index in a heap.
	slot int
	// prev and next link the delivery into leases.
	prev *delivery
	next *delivery
}

// cost returns how many bytes it takes to keep the delivery.
func (d *delivery) cost() int {
	return int(d.size) + deliveryCost + len(d.history)*attemptCost + d.causes
}

func (d *delivery) record() []byte { return d.slab.b[d.off : d.off+d.size] }

func (d *delivery) head() head {
	return head{seq: d.seq, topic: d.topic, clock: d.clock, record: d.record(), delivery: d, size: d.size}
}

// keep copies the record to a slab of its own, so that it does not keep others in memory.
func (d *delivery) keep() {
	if !d.own {
		d.slab, d.off, d.own = &slab{b: slices.Clone(d.record())}, 0, true
	}
}

// forgive does not count the leases that have ended since the subscriber was last heard of:
// it was alive, but could not say so.
func (d *delivery) forgive() {
	for i := len(d.history) - 1; i >= 0 && d.history[i].Outcome == LeaseEnded; i-- {
		d.history[i].Outcome = Disconnected
		d.failed--
	}
}
