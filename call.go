package link

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// call is one unary call, or one stream that is being opened.
type call struct {
	Operation

	node   *Node
	config callConfig
	// search chooses the instances.
	search router.Search
	// attempt is the attempt under way.
	attempt attempt
	span    trace.ClientSpan
	// data is the encoded DATA frame of the request. It outlives the attempts, which all send it.
	data []byte
	// size is the size of the request message in bytes.
	size int
	// inline is room for metadata.
	inline [4]wire.Pair
}

// attempt is one try of a call at one instance.
type attempt struct {
	target  router.Target
	headers wire.Headers
	reply   transport.Reply
	// number counts the attempts of the call, from 1.
	number int
	start  time.Time
}

type callKey struct{}

// calls recycles call values, which are large and short-lived. It is
// only a cache, so it may be global.
var calls = sync.Pool{New: func() any { return new(call) }} //nolint:gochecknoglobals // see above

func (c *call) init(r Route, in, out any, opts []CallOption) {
	c.Route, c.Client, c.Request, c.Response = r, true, in, out
	c.config.metadata.pairs = c.inline[:0]
	for _, opt := range opts {
		opt.applyCall(&c.config)
	}
	c.Metadata = c.config.metadata
}

// keepData is the largest message buffer, in bytes, that a recycled call keeps.
const keepData = 16 << 10

// recycle returns the call to the pool. Only its message buffer is kept.
func (c *call) recycle() {
	data := c.data
	if cap(data) > keepData {
		transport.PutBuffer(data)
		data = nil
	}
	*c = call{data: data[:0]}
	calls.Put(c)
}

// giveBack returns the message buffer to its pool.
func (c *call) giveBack() {
	transport.PutBuffer(c.data)
	c.data = nil
}

// callOf returns a new call made from op, with the options of the caller.
func callOf(ctx context.Context, op *Operation) (*call, error) {
	given, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return nil, Errorf(Internal, "client middleware called next with a context that is not derived from its own")
	}
	c := &call{Operation: *op, config: given.config}
	c.Metadata.pairs = slices.Clone(op.Metadata.pairs)
	return c, nil
}

// prepare checks the call, finds its service and chooses where it may go.
func (n *Node) prepare(ctx context.Context, c *call) error {
	c.node = n
	ask := c.ask()
	if err := c.search.Find(n.router, ask); err != nil {
		return routed(err)
	}
	if !isName(c.Route.Name) || c.Route.Level > ReadOnly || uint64(c.Route.Timeout) > uint64(maxTimeout) {
		return c.Route.Validate()
	}
	if c.config.sized && (c.config.size < 1 || c.config.size > maxMessageCap) {
		return Errorf(InvalidArgument, "MaxMessage is %d, want 1 to %d", c.config.size, maxMessageCap)
	}
	if len(c.Metadata.pairs) > 0 {
		if err := c.Metadata.validate(); err != nil {
			return err
		}
		ask.Meta = (*lookup)(&c.Metadata)
	}
	if len(c.config.key) > wire.MaxKeyBytes {
		return Errorf(InvalidArgument, "idempotency key of %d bytes, want at most %d", len(c.config.key), wire.MaxKeyBytes)
	}
	return routed(c.search.Choose(ctx))
}

// ask returns what the call asks of the router.
func (c *call) ask() *router.Ask {
	ask := &c.config.ask
	ask.Service, ask.Name, ask.Kind, ask.Number = c.Route.Service, c.Route.Name, c.Route.Kind.String(), uint64(c.Route.Kind)
	ask.Level, ask.Keyed, ask.Timeout = router.Level(c.Route.Level), c.config.key != "", c.Route.Timeout
	return ask
}

// askOf returns what a call with these options would ask of the router.
func askOf(r Route, opts []CallOption) *router.Ask {
	c := &call{}
	c.init(r, nil, nil, opts)
	ask := c.ask()
	if c.Metadata.Len() > 0 {
		ask.Meta = (*lookup)(&c.Metadata)
	}
	return ask
}

// describe fills in the headers that all attempts share.
func (c *call) describe(ctx context.Context) {
	h := &c.attempt.headers
	if carrier := c.node.tracer().Inject(ctx, nil); len(carrier) > 0 {
		h.Trace = tracePairs(carrier)
	}
	h.Metadata = c.Metadata.pairs
	h.Codec = uint64(c.node.cfg.Codec.ID())
}

func tracePairs(c trace.Carrier) []wire.Pair {
	out := make([]wire.Pair, 0, len(c))
	for _, p := range c {
		out = append(out, wire.Pair{Key: p.Key, Value: p.Value})
	}
	slices.SortFunc(out, wire.ComparePairs)
	return out
}

// encode writes the DATA frame once for all attempts.
func (c *call) encode() error {
	b, sizes := c.data, &c.search.Service().Sizes
	if hint := sizes.Size(); cap(b) < hint {
		transport.PutBuffer(b)
		b = transport.GetBuffer(hint)
	}
	b, body := wire.BeginFrame(b, wire.KindData, 0)
	b, err := c.node.cfg.Codec.Append(b, c.Request)
	c.data = b
	if err != nil {
		return uncoded(err, InvalidArgument, "encoding the request")
	}
	c.size = len(b) - body
	sizes.Note(len(b))
	if c.size > maxMessageCap {
		return c.tooLarge(maxMessageCap, "the most that any message may have,", "")
	}
	if err := wire.EndFrame(b, body); err != nil {
		return Errorf(ResourceExhausted, "%w", err)
	}
	c.config.ask.Encoded = true
	return nil
}

func (c *call) class() transport.Class {
	if c.size > transport.LeasedMessage {
		return transport.ClassBulk
	}
	return transport.ClassCalls
}

// fault injects the fault that the topology asks for, if the call is drawn for it.
// A non-nil error settles the call.
func (c *call) fault(ctx context.Context) error {
	f := c.search.Fault()
	if f == nil {
		return nil
	}
	if f.Delay > 0 {
		deadline := c.search.Deadline()
		if err := backoff.Sleep(ctx, min(f.Delay, time.Until(deadline))); err != nil {
			return Errorf(CodeOf(ctx.Err()), "the call ended during a delay injected by the topology: %w", err)
		}
		if !c.search.Delayed().Before(deadline) {
			return Errorf(DeadlineExceeded, "out of time during a delay of %v injected by the topology", f.Delay)
		}
	}
	if code, ok := codes.Number(f.Abort); ok {
		return Errorf(Code(code), "fault injected by the topology of %s", c.Route.Service)
	}
	return nil
}

func (c *call) tooLarge(limit int, whose, more string) error {
	return Errorf(ResourceExhausted, "request of %d bytes exceeds %s of %d bytes%s", c.size, whose, limit, more)
}
