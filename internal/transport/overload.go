package transport

import (
	"errors"
	"fmt"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/wire"
)

// The gRPC codes with which the transport itself answers.
const (
	codeResourceExhausted = 8
	codeUnavailable       = 14
)

func tooLarge(got, limit uint64) *wire.Status {
	return &wire.Status{
		Code:    codeResourceExhausted,
		Message: fmt.Sprintf("message of %d bytes exceeds the server's Limits.MaxMessage of %d bytes", got, limit),
	}
}

var drainStatus = &wire.Status{Code: codeUnavailable, Message: "node is draining", Refused: true} //nolint:gochecknoglobals // constant

// overload returns the status of a call that is refused because of a limit. why is the error
// of the limit.
func (s *Session) overload(why error) *wire.Status {
	l := &s.endpoint.limits
	if errors.Is(why, errUnsent) {
		message := fmt.Sprintf("the caller has used up its share of the server's Limits.InFlightBytes of %d bytes: %v", l.InFlightBytes, why)
		s.noteShed("InFlightBytes", message)
		return &wire.Status{Code: codeResourceExhausted, Refused: true, Message: message}
	}
	name, limit := "CallsPerProcess", l.CallsPerProcess
	switch {
	case errors.Is(why, share.ErrMost):
		name, limit, why = "CallsPerIdentity", l.CallsPerIdentity, nil
	case errors.Is(why, share.ErrSpent):
		why = nil
	case errors.Is(why, errStreams):
		name, limit, why = "Streams.PerConnection", l.Streams.PerConnection, nil
	}
	message := fmt.Sprintf("the server is running as many calls as Limits.%s allows, %d", name, limit)
	if why != nil {
		message = fmt.Sprintf("the server's Limits.%s of %d calls: %v", name, limit, why)
	}
	s.noteShed(name, message)
	return &wire.Status{Code: codeResourceExhausted, Refused: true, Message: message}
}

// noteShed counts and logs that the peer was refused something because of a limit.
func (s *Session) noteShed(limit, text string) {
	s.endpoint.shed.note(limit, s.shares.calls.Name()+" at "+s.remoteAddr, text, time.Now())
}

var errStreams = errors.New("the caller runs more calls than it may have streams")
