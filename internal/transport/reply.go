package transport

import (
	"errors"

	"github.com/quic-go/quic-go"

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

// write sends the reply, or queues it.
func (c *Call) write() error {
	if c.out.mayQueue(len(c.Reply)) {
		var err error
		if c.single { // the stream ends behind it
			err = c.out.writeNow(c.Reply)
		} else {
			err = c.out.queue(c.Reply, c.Deadline)
		}
		if !errors.Is(err, quic.ErrWouldBlock) {
			return err
		}
	}
	if err := c.out.settle(); err != nil {
		return err
	}
	if err := c.out.setDeadline(c.Deadline); err != nil {
		return err
	}
	if len(c.Reply) > inlineBody {
		return c.writeLarge()
	}
	return c.out.write(c.Reply)
}

// writeLarge sends a large reply, which counts in Limits.InFlightBytes until it
// is gone: a peer that does not read its replies must not fill our memory.
func (c *Call) writeLarge() error {
	bytes := c.Session.shares.bytes
	size := int64(len(c.Reply))
	if err := bytes.Take(size); err != nil {
		s := c.Session
		s.noteShed("InFlightBytes", noRoom(err).Error())
		s.caller.unsent.note(&c.Headers, size)
		c.refuse(costRefused)
		return c.out.write(wire.AppendStatus(nil, &wire.Status{Code: codeResourceExhausted, Message: "reply not sent: " + noRoom(err).Error()}, c.StatusFlags()))
	}
	defer bytes.Give(size)
	if size <= LeasedMessage {
		return c.out.write(c.Reply)
	}
	return c.out.writeBulk(c.Session, c.Reply)
}
