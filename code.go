package link

import "github.com/linkmesh/link/internal/codes"

// Code says what kind of failure an error is. The codes, their numbers and
// meanings are gRPC's.
//
// A Code is an error, so that errors.Is(err, link.NotFound) works on both sides
// of the wire and a handler may return a bare code. [CodeOf] returns [OK] for
// nil, for logs and metrics. An error never has it: a handler that returns
// link.OK, or an [*Error] without a code, has failed with [Unknown].
type Code uint32

// The codes.
const (
	OK                 Code = 0  // no error
	Canceled           Code = 1  // the caller gave up
	Unknown            Code = 2  // an error without a better code
	InvalidArgument    Code = 3  // the request is wrong in any state of the system
	DeadlineExceeded   Code = 4  // out of time; the call may have run
	NotFound           Code = 5  // the requested entity does not exist
	AlreadyExists      Code = 6  // the entity to create exists already
	PermissionDenied   Code = 7  // the caller is known but not allowed
	ResourceExhausted  Code = 8  // a quota or limit is used up
	FailedPrecondition Code = 9  // the system is not in the state that the call needs
	Aborted            Code = 10 // a conflict; retry at a higher level
	OutOfRange         Code = 11 // past the end
	Unimplemented      Code = 12 // the service has no such route
	Internal           Code = 13 // an invariant is broken
	Unavailable        Code = 14 // cannot be served now; a retry may help
	DataLoss           Code = 15 // data is lost or damaged
	Unauthenticated    Code = 16 // the caller is not known
)

// String returns the code in words, "not found".
func (c Code) String() string { return codes.Words(uint32(c)) }

// Error implements error.
func (c Code) Error() string { return c.String() }
