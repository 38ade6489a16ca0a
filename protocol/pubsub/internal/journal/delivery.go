package journal

import (
	"slices"
)

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
	own     bool // the slab is of its own
	place   spot
	slot    int       // in a heap
	prev    *delivery // in leases
	next    *delivery
	expires int64 // end of its TTL; 0 is never
	due     int64 // end of the lease, or time of the next delivery
	sent    int64
	attempt int
	failed  int // failed deliveries that count to Subscription.Deliveries
	history []Attempt
	causes  int     // bytes of causes in it
	order   uint64  // number among all deliveries of the window
	avoid   *Cursor // for a group: who released it
}

// cost is what it takes to keep the delivery.
func (d *delivery) cost() int {
	return int(d.size) + deliveryCost + len(d.history)*attemptCost + d.causes
}

func (d *delivery) record() []byte { return d.slab.b[d.off : d.off+d.size] }

func (d *delivery) head() head {
	return head{seq: d.seq, topic: d.topic, clock: d.clock, record: d.record(), delivery: d, size: d.size}
}

// keep makes the delivery's record its own, so that it does not keep others in memory.
func (d *delivery) keep() {
	if !d.own {
		d.slab, d.off, d.own = &slab{b: slices.Clone(d.record())}, 0, true
	}
}

// forgive takes back that leases have ended since the subscriber was heard last: it was
// alive, and could not say so.
func (d *delivery) forgive() {
	for i := len(d.history) - 1; i >= 0 && d.history[i].Outcome == LeaseEnded; i-- {
		d.history[i].Outcome = Disconnected
		d.failed--
	}
}
