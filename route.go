package link

import (
	"fmt"
	"time"

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

// applyMethod makes a level an option.
func (l Idempotency) applyMethod(r *Route) { r.Level = l }

// MethodOption declares something about a method: its level, such as [ReadOnly], or its
// [Timeout].
type MethodOption interface{ applyMethod(r *Route) }

type timeoutOption time.Duration

func (o timeoutOption) applyMethod(r *Route) { r.Timeout = time.Duration(o) }

// Timeout sets how long a call of the method may take if its context has no deadline, at
// most 24 h. Zero, as without this option, means Config.Limits.CallTimeout of the caller.
//
// A timeout of the topology takes precedence, whether it is that of a route, of the
// service or of the defaults: operators can change it while the program runs. The
// deadline of a context takes precedence over all of these. A server is told only how
// much time a call has left.
func Timeout(d time.Duration) MethodOption { return timeoutOption(d) }

// maxTimeout bounds [Route.Timeout] as a topology bounds its timeouts.
const maxTimeout = 24 * time.Hour

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
	// Timeout bounds a call, or the opening of a stream, for which neither the context nor
	// the topology sets a time; see [Timeout]. Zero means Config.Limits.CallTimeout.
	Timeout time.Duration
}

// With returns the route with what the options declare; r stays as it is. If several
// options set the same, the last one counts. It is for patterns that have methods.
func (r Route) With(opts ...MethodOption) Route {
	for _, opt := range opts {
		opt.applyMethod(&r)
	}
	return r
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
		return Errorf(InvalidArgument, "Route.Kind of %s is %d, want link.KindMethod, KindTopic, KindStage or KindChannel", r, r.Kind)
	}
	if r.Level > ReadOnly {
		return Errorf(InvalidArgument, "Route.Level of %s is %d, want link.Unsafe, link.Idempotent or link.ReadOnly", r, r.Level)
	}
	if r.Timeout < 0 || r.Timeout > maxTimeout {
		return Errorf(InvalidArgument, "Route.Timeout of %s is %v, want 0 to %v", r, r.Timeout, maxTimeout)
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
