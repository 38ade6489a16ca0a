package router

import (
	"fmt"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/policy"
)

// Level says what it means to run a method twice, from the most careful to the least. The numbers are those that peers
// announce.
type Level uint8

// The levels.
const (
	Unsafe Level = iota
	Idempotent
	ReadOnly
)

// String returns the level in words.
func (l Level) String() string {
	switch l {
	case Unsafe:
		return "unsafe"
	case Idempotent:
		return "idempotent"
	case ReadOnly:
		return "read-only"
	default:
		return fmt.Sprintf("level %d", uint8(l))
	}
}

// Ask is what a call asks for. It is read while its search lasts.
type Ask struct {
	// Service, Name and Kind are the route; Number is the kind as peers announce it.
	Service string
	Name    string
	Kind    string
	Number  uint64
	// Timeout bounds the call if neither its caller nor the topology does; 0 means Config.CallTimeout.
	Timeout time.Duration
	// Level is lowered during the search if a server announces a more careful one.
	Level Level
	// Keyed means that the handler recognizes a call that comes twice, so that it may run again whatever the level.
	Keyed bool
	// Encoded means that the call carries a message in the codec of the node, which its instance must be able to read.
	Encoded bool
	// Wait makes the call wait for an instance until its deadline.
	Wait bool

	// Key, if not "", chooses the same instance for equal keys.
	Key string
	// Tags are what the instance must have.
	Tags []string
	// Zone restricts the call to the zone of the node.
	Zone bool
	// Instance is the ID of the only instance to call; "" if any will do.
	Instance string
	// Meta is the metadata of the call, nil if it has none.
	Meta policy.Metadata
}

// narrows reports whether the call asks for a part of the instances.
func (a *Ask) narrows() bool { return len(a.Tags) > 0 || a.Zone }

// once reports whether the call must not run a second time.
func (a *Ask) once() bool { return a.Level == Unsafe && !a.Keyed }

// request returns what the topology decides by.
func (a *Ask) request(caller string) policy.Request {
	return policy.Request{
		Kind: a.Kind, Name: a.Name, Caller: caller, Key: a.Key, ReadOnly: a.Level == ReadOnly, Meta: a.Meta,
	}
}

// Validate returns an error if one of the tags is not valid.
func (a *Ask) Validate() error {
	if len(a.Tags) == 0 {
		return nil
	}
	if err := (discovery.Instance{ID: "x", Service: "x", Addr: "127.0.0.1:1", Tags: a.Tags}).Validate(); err != nil {
		return errorf(codes.InvalidArgument, "OnTags: %w", err)
	}
	return nil
}
