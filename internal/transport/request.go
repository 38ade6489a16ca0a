package transport

import (
	"os"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// readHeaders reads the HEADERS frame that opens a call.
func (c *Call) readHeaders(first bool) error {
	for {
		h, err := c.fr.header()
		if !c.rest.end() {
			return errRested
		}
		if err != nil {
			return err
		}
		if h.Kind != wire.KindHeaders {
			if h.Flags&wire.FlagCritical != 0 || first {
				return c.Session.protocolError("a call does not start with HEADERS")
			}
			if h.Length > wire.MaxControl {
				return &wire.LimitError{What: "unknown frame", Limit: wire.MaxControl, Got: h.Length}
			}
			if err := c.fr.skip(h.Length); err != nil {
				return err
			}
			if c.restedSince < c.Session.endpoint.unusedSince() {
				return errRested
			}
			c.rest.begin(c.restedSince) // no call has begun
			continue
		}
		if h.Length > wire.MaxHeader {
			return &wire.LimitError{What: "HEADERS", Limit: wire.MaxHeader, Got: h.Length}
		}
		body, err := c.fr.body(h.Length)
		if err != nil {
			return err
		}
		if !c.fr.buffered(wire.KindData) { // reading on would overwrite them
			if err := c.keepScope(body); err != nil {
				return err
			}
			body = c.scope
			c.fr.release() // a large message gets a buffer of its own
		}
		return c.parseHeaders(body)
	}
}

// keepScope copies the body of HEADERS. A long one counts until the call is over,
// which may be long after it has arrived.
func (c *Call) keepScope(body []byte) error {
	if len(body) > readBuffer {
		if err := c.Session.shares.bytes.Take(int64(len(body))); err != nil {
			return noRoom(err)
		}
		c.scopeTaken = int64(len(body))
	}
	c.scope = append(c.scope[:0], body...)
	return nil
}

// dropScope gives up what a long HEADERS took.
func (c *Call) dropScope() {
	if c.scopeTaken > 0 {
		c.Session.shares.bytes.Give(c.scopeTaken)
		c.scope, c.scopeTaken = nil, 0
	}
}

// parseHeaders is apart from readHeaders, which waits with all that is on its stack.
//
//go:noinline
func (c *Call) parseHeaders(body []byte) (err error) {
	c.Headers, err = wire.ParseHeaders(body)
	return err
}

// Receive reads the message of a call whose route is Early, at the first call. The
// status says why it is not read; an error, that the stream has ended.
func (c *Call) Receive() (*wire.Status, error) {
	if c.early == nil || c.broken != nil {
		return nil, c.broken
	}
	refusal, err := c.readMessage(c.early)
	c.early, c.broken = nil, err
	return refusal, err
}

// Decline passes over the message of a call whose route is Early, if Receive was not
// called, for the reply that follows. It costs no more than [LeasedMessage]: behind a
// larger message the stream is not used again.
func (c *Call) Decline() {
	if c.early == nil {
		return
	}
	route := *c.early
	route.Refuse = &wire.Status{}
	_, c.broken = c.readMessage(&route)
	c.early, c.Message = nil, nil
}

// readMessage reads the DATA of the call. A message that is too large ends the
// stream behind its STATUS, because its bytes are not read.
func (c *Call) readMessage(route *Route) (*wire.Status, error) {
	if c.single && route.Refuse != nil {
		return route.Refuse, nil // whatever follows, message or frames of a pattern
	}
	limit := uint64(route.MaxMessage)
	if limit == 0 {
		limit = uint64(c.Session.endpoint.limits.MaxMessage)
	}
	for {
		if c.fr.r == c.fr.w { // it has not begun, and may wait for its turn, but not much longer than the call
			if err := c.fr.await(c.Deadline.Add(writeGrace)); err != nil {
				return nil, err
			}
		}
		h, err := c.fr.next()
		if err != nil {
			return nil, unexpected(err)
		}
		switch {
		case h.Kind == wire.KindData && h.Flags&(wire.FlagCompressed|wire.FlagMore) != 0:
			return nil, c.Session.protocolError("compressed or fragmented DATA")
		case h.Kind == wire.KindData && h.Length > limit:
			c.single = true
			return tooLarge(h.Length, limit), nil
		case h.Kind == wire.KindData && route.Refuse != nil && h.Length > LeasedMessage:
			c.single = true
			return route.Refuse, nil
		case h.Kind == wire.KindData:
			c.Message, err = c.fr.body(h.Length)
			return route.Refuse, err
		case h.Flags&wire.FlagCritical != 0:
			return nil, c.Session.protocolError("unknown critical frame in a call")
		case h.Length > wire.MaxControl:
			return nil, &wire.LimitError{What: "unknown frame", Limit: wire.MaxControl, Got: h.Length}
		default:
			if err := c.fr.skip(h.Length); err != nil {
				return nil, err
			}
			if time.Now().After(c.Deadline.Add(writeGrace)) { // one that always has more to skip never waits
				return nil, os.ErrDeadlineExceeded
			}
		}
	}
}
