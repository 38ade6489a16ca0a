package link

import (
	"fmt"

	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/wire"
)

// Kind says which pattern a route belongs to. Routes of different kinds may
// share a name.
type Kind uint8

// The kinds of routes.
const (
	KindMethod  Kind = 0 // request/response
	KindTopic   Kind = 1 // publish/subscribe
	KindStage   Kind = 2 // pipeline
	KindChannel Kind = 3 // anything built on Open and Handle
)

// String returns the kind in words.
func (k Kind) String() string {
	switch k {
	case KindMethod:
		return "method"
	case KindTopic:
		return "topic"
	case KindStage:
		return "stage"
	case KindChannel:
		return "channel"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// Idempotency says what it means to run a method twice. It decides whether a call
// that may have run is sent again.
type Idempotency uint8

// The levels, from the most careful to the least.
const (
	Unsafe     Idempotency = 0 // running twice does harm: not retried once it may have run
	Idempotent Idempotency = 1 // running twice leaves the same state as running once
	ReadOnly   Idempotency = 2 // changes nothing
)

// String returns the level in words.
func (l Idempotency) String() string { return router.Level(l).String() }

// Route names something that a service offers. The service owns its routes and the
// other side dials it. Routes are comparable values; declare each once and let
// both sides import it.
type Route struct {
	// Service is the service that owns the route.
	Service string
	// Name is the name within the service, 1 to 255 bytes of letters, digits and
	// . _ - / : *
	Name string
	Kind Kind
	// Level is the level of a method.
	Level Idempotency
}

// String returns "service/name".
func (r Route) String() string { return r.Service + "/" + r.Name }

// Validate returns nil, or an error that names the field and the value that are wrong.
func (r Route) Validate() error {
	if err := validName("Route.Service", r.Service); err != nil {
		return err
	}
	if err := validName("Route.Name", r.Name); err != nil {
		return err
	}
	if r.Kind > KindChannel {
		return Errorf(InvalidArgument, "Route.Kind of %s is %d, want a Kind of package link", r, r.Kind)
	}
	if r.Level > ReadOnly {
		return Errorf(InvalidArgument, "Route.Level of %s is %d, want a Level of package link", r, r.Level)
	}
	return nil
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:*"

// inNames reports for each byte whether nameBytes has it.
var inNames = func() (in [256]bool) { //nolint:gochecknoglobals // a constant
	for i := range len(nameBytes) {
		in[nameBytes[i]] = true
	}
	return in
}()

func isName(name string) bool {
	if name == "" || len(name) > wire.MaxName {
		return false
	}
	for i := range len(name) {
		if !inNames[name[i]] {
			return false
		}
	}
	return true
}

func validName(field, name string) error {
	if !isName(name) {
		return Errorf(InvalidArgument, "%s is %q, want 1 to %d bytes of letters, digits and . _ - / : *", field, name, wire.MaxName)
	}
	return nil
}
