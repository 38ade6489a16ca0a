package transport

import (
	"errors"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// StatusFlags returns the flags for the STATUS frame of the reply.
func (c *Call) StatusFlags() wire.Flags {
	var flags wire.Flags
	if c.odd {
		flags = wire.FlagOdd
	}
	if c.single {
		flags |= wire.FlagLast
	}
	return flags
}

// keepReply is the largest reply buffer, in bytes, that an idle stream keeps.
const keepReply = 4 << 10

// write sends the reply, or queues it. A reply of more than inlineBody bytes counts toward
// Limits.InFlightBytes until it is sent: a peer that does not read its replies must not
// fill our memory.
func (c *Call) write() error {
	c.fit()
	size := int64(len(c.Reply))
	if size <= inlineBody {
		return c.send()
	}
	bytes := c.Session.shares.bytes
	if err := bytes.Take(size); err != nil {
		s := c.Session
		s.noteShed("InFlightBytes", noRoom(err).Error())
		s.caller.unsent.note(&c.Headers, size)
		c.refuse(costRefused)
		PutBuffer(c.Reply)
		c.Reply = wire.AppendStatus(nil, &wire.Status{Code: codeResourceExhausted, Message: "reply not sent: " + noRoom(err).Error()}, c.StatusFlags())
		return c.send()
	}
	defer bytes.Give(size)
	return c.send()
}

// fit moves the reply to a buffer of its size if most of its buffer is empty. Limits count
// the length of a reply, and it may wait for a long time: a short reply that replaces a long
// one, which its caller does not accept, must not hold the buffer of the long one.
func (c *Call) fit() {
	large, size := c.Reply, len(c.Reply)
	if cap(large) <= max(keepReply, 2*size) {
		return
	}
	if c.Reply = c.kept; size > keepReply {
		c.Reply = GetBuffer(size)
	} else if cap(c.kept) < size {
		c.Reply = make([]byte, 0, size)
	}
	c.Reply = append(c.Reply[:0], large...)
	PutBuffer(large)
}

// keep keeps a small buffer for the next reply, and recycles a large one.
func (c *Call) keep() {
	if cap(c.Reply) <= keepReply {
		c.kept = c.Reply[:0]
		return
	}
	PutBuffer(c.Reply)
	c.Reply = c.kept
}

// send sends the reply. Where it must, it waits for the replies before this one and for the
// peer.
func (c *Call) send() error {
	if c.out.mayQueue(len(c.Reply)) {
		var err error
		// A stream for a single call ends behind the reply.
		if c.single {
			err = c.out.writeNow(c.Reply)
		} else {
			err = c.out.queue(c.Reply, c.Deadline)
		}
		if !errors.Is(err, carrier.ErrWouldBlock) {
			return err
		}
	}
	if err := c.out.settle(); err != nil {
		return err
	}
	if err := c.out.setDeadline(c.Deadline); err != nil {
		return err
	}
	if len(c.Reply) <= LeasedMessage {
		return c.out.write(c.Reply)
	}
	return c.out.writeBulk(c.Session, c.Reply)
}
