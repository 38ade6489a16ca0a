package transport

import (
	"fmt"

	"github.com/linkmesh/link/internal/wire"
)

// The gRPC codes that the transport itself answers with.
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

// overload returns why a call must be refused, or nil.
func (s *Session) overload(running, of int64) *wire.Status {
	e := s.endpoint
	l := &e.limits
	var name string
	var limit int
	switch {
	case e.refusing.Load():
		return drainStatus
	case of > int64(l.CallsPerIdentity):
		name, limit = "CallsPerIdentity", l.CallsPerIdentity
	case e.active.Load() > int64(l.CallsPerProcess):
		name, limit = "CallsPerProcess", l.CallsPerProcess
	case running > int64(l.StreamsPerConnection):
		name, limit = "StreamsPerConnection", l.StreamsPerConnection
	default:
		return nil
	}
	return &wire.Status{
		Code: codeResourceExhausted, Refused: true,
		Message: fmt.Sprintf("server runs its Limits.%s of %d calls", name, limit),
	}
}
