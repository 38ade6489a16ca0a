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
			if c.rest.began < c.Session.endpoint.unusedSince() {
				return errRested
			}
			// No call has begun, so the rest goes on.
			c.rest.begin(c.rest.began)
			continue
		}
		if h.Length > wire.MaxHeader {
			return &wire.LimitError{What: "HEADERS", Limit: wire.MaxHeader, Got: h.Length}
		}
		body, err := c.fr.body(h.Length)
		if err != nil {
			return err
		}
		// Reading on would overwrite the headers, and a large message needs a buffer of its own.
		if !c.fr.buffered(wire.KindData) {
			if err := c.keepScope(body); err != nil {
				return err
			}
			body = c.scope
			c.fr.release()
		}
		return c.parseHeaders(body)
	}
}

// keepScope copies the body of HEADERS. A body of more than readBuffer bytes counts toward
// Limits.InFlightBytes until the call is over, which may be long after it has arrived.
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

// dropScope gives back what keepScope took for a long HEADERS.
func (c *Call) dropScope() {
	if c.scopeTaken > 0 {
		c.Session.shares.bytes.Give(c.scopeTaken)
		c.scope, c.scopeTaken = nil, 0
	}
}

// parseHeaders parses the body of HEADERS. It is separate from readHeaders to keep the stack
// small on which readHeaders waits.
//
//go:noinline
func (c *Call) parseHeaders(body []byte) (err error) {
	c.Headers, err = wire.ParseHeaders(body)
	return err
}

// Receive reads the message of a call whose route is Early. Only the first call reads. A
// status says why the message is not read, and an error that the stream has ended.
func (c *Call) Receive() (*wire.Status, error) {
	if c.early == nil || c.broken != nil {
		return nil, c.broken
	}
	refusal, err := c.readMessage(c.early)
	c.early, c.broken = nil, err
	return refusal, err
}

// Decline skips the message of a call whose route is Early, if Receive was not called, so
// that the reply can follow. It reads at most [LeasedMessage] bytes: behind a larger message
// the stream is not used again.
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
	// Whatever follows is not read, neither a message nor frames of a pattern.
	if c.single && route.Refuse != nil {
		return route.Refuse, nil
	}
	limit := uint64(route.MaxMessage)
	if limit == 0 {
		limit = uint64(c.Session.endpoint.limits.MaxMessage)
	}
	for {
		// A message that has not begun may wait for its turn, but not much longer than the call.
		if c.fr.r == c.fr.w {
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
			// A reader that always has more to skip never waits, and so never times out.
			if time.Now().After(c.Deadline.Add(writeGrace)) {
				return nil, os.ErrDeadlineExceeded
			}
		}
	}
}
