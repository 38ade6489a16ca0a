package link

import (
	"time"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// fromRouter returns an error of the router as an *Error.
func fromRouter(e *router.Error) *Error {
	return &Error{Code: Code(e.Code), Peer: e.Peer, Attempt: e.Attempt, Message: e.Message, Cause: e.Cause}
}

// routed returns the error of a function of the router for this package: its own errors become an *Error, and those
// that it was given are returned as they are.
func routed(err error) error {
	if e, ok := err.(*router.Error); ok { //nolint:errorlint // the errors of the router are not wrapped
		return fromRouter(e)
	}
	return err
}

// ErrProcessGone is part of the error of a call or stream whose connection ended because
// the process of the peer ended: its host reported that nothing listens at its port any
// more, or another instance announced that it is at that address and this one does not
// answer. What the peer ran has ended, and will not come back. A process that has
// restarted, or has given up the connection, may answer first that it does not know the
// connection. That says nothing about what ran, so such an error is not ErrProcessGone.
var ErrProcessGone = transport.ErrGone

// maxRetryAfter bounds the milliseconds that a peer may ask to wait, so that they fit a
// time.Duration.
const maxRetryAfter = 1 << 40

// fromStatus returns the error that a peer sent.
func fromStatus(s *wire.Status, peer string) *Error {
	e := &Error{
		Code: normal(Code(min(s.Code, uint64(Unauthenticated)+1))), Peer: peer, Message: foreign.Text(s.Message), Remote: true, ID: foreign.Text(s.ErrorID),
		RetryAfter: time.Duration(min(s.RetryAfter, maxRetryAfter)) * time.Millisecond,
	}
	for _, d := range s.Details {
		d.Type = foreign.Text(d.Type)
		e.Details = append(e.Details, Detail(d))
	}
	return e
}
