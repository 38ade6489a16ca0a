package link

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/topology"
	"github.com/linkmesh/link/tracing"
)

// outgoing is one unary call on its way through the attempts.
type outgoing struct {
	Operation

	config   callConfig
	service  *service
	now      time.Time // last reading of the clock
	began    time.Time
	deadline time.Time
	dated    bool // the deadline is the caller's, and the plan changes nothing in it
	headers  wire.Headers
	data     []byte // the DATA frame
	reply    transport.Reply
	inline   [4]wire.Pair // room for metadata
	size     int          // the size of the message in reply
	span     tracing.ClientSpan
	attempts int
	retry    bool // the attempt before may have run, and another was allowed
	broke    bool // another attempt was wanted, and the budget of retries had none
	refusals int  // attempts that no handler saw
	picks    int  // instances looked at
	passed   int  // those of picks without a connection and with no dial begun for the call
	leaver   *endpoint
	doubted  *endpoint          // one that has a connection and is in doubt, or ejected
	at       *endpoint          // where the call waits, if it may be moved
	by       *transport.Session // with at: the connection it waits on
	room     int                // how many may be pending
	widened  bool               // no pending instance answered soon
	pending  []pending
	redials  int       // times a connection ended before the call left
	ended    int       // times one had ended in the moment it came
	waits    time.Time // since when it waits for an instance, if the call says so
	tried    balance.Tried[*instance]
	request  topology.Request // what the topology decides by
	plan     *topology.Plan
	copied   bool     // a mirror's: its plan was given, and it neither earns retries nor takes them
	levels   []level  // where the call may go, best first
	level    int      // where it goes now
	unheard  *service // one that the topology names, and of which nothing was known
	key      balance.Key
	keyed    *topology.Plan // the plan that key belongs to
	last     error          // the last error since the instances were last looked through
	failure  error          // why the last attempt failed
}

type outgoingKey struct{}

// Call makes one unary call: it encodes in, sends it to an instance of the
// route's service, and decodes the reply into out, a pointer. It blocks until
// then, at most until ctx ends or, if ctx has no deadline, for
// Config.CallTimeout.
//
// Errors: those that the handler returns, with Remote set; Unavailable if no
// instance can be reached or one was lost during the call; DeadlineExceeded and
// Canceled, with the cause of ctx; Unimplemented if the service has no such
// route; ResourceExhausted if a message is larger than either side allows.
func (n *Node) Call(ctx context.Context, r Route, in, out any, opts ...CallOption) error {
	var err error
	if len(n.cfg.Client) == 0 {
		o, _ := outgoings.Get().(*outgoing) // New makes nothing else
		o.init(r, in, out, opts)
		err = n.call(ctx, o)
		o.recycle()
	} else { // middleware may keep the operation
		o := &outgoing{}
		o.init(r, in, out, opts)
		err = n.invoke(context.WithValue(ctx, outgoingKey{}, o), &o.Operation)
	}
	if err != nil {
		return failed("call "+r.String(), err)
	}
	return nil
}

// outgoings recycles calls: a call is large and short. It is a cache without
// meaning for behavior, so it may be global.
var outgoings = sync.Pool{New: func() any { return new(outgoing) }} //nolint:gochecknoglobals // see above

func (o *outgoing) init(r Route, in, out any, opts []CallOption) {
	o.Route, o.Client, o.Request, o.Response = r, true, in, out
	o.config.metadata.pairs = o.inline[:0]
	for _, opt := range opts {
		opt.applyCall(&o.config)
	}
	o.Metadata = o.config.metadata
}

// keepData is the largest message buffer that a recycled call keeps.
const keepData = 16 << 10

// recycle puts the call back into the pool with its buffer, and nothing else.
func (o *outgoing) recycle() {
	data := o.data
	if cap(data) > keepData {
		transport.PutBuffer(data)
		data = nil
	}
	*o = outgoing{data: data[:0]}
	outgoings.Put(o)
}

// giveBack gives the buffer back.
func (o *outgoing) giveBack() {
	transport.PutBuffer(o.data)
	o.data = nil
}

// callTerminal is the innermost handler of the client's middleware. Each time it
// is called it makes a call of its own, of what the operation says then: next may
// run twice, and on after the outer handler has returned.
func (n *Node) callTerminal(ctx context.Context, op *Operation) error {
	o, err := outgoingOf(ctx, op)
	if err != nil {
		return err
	}
	err = n.call(ctx, o)
	op.Peer, op.Attempt = o.Peer, o.attempts
	o.giveBack()
	return err
}

// outgoingOf returns a call of what op says, with the options of the caller.
func outgoingOf(ctx context.Context, op *Operation) (*outgoing, error) {
	given, ok := ctx.Value(outgoingKey{}).(*outgoing)
	if !ok {
		return nil, Errorf(Internal, "client middleware called next with a context that is not derived from its own")
	}
	o := &outgoing{Operation: *op, config: given.config}
	o.Metadata.pairs = slices.Clone(op.Metadata.pairs)
	return o, nil
}

func (n *Node) call(ctx context.Context, o *outgoing) error {
	if err := n.prepare(ctx, o); err != nil {
		return err
	}
	if n.cfg.Tracer.Enabled() {
		ctx, o.span = n.cfg.Tracer.StartClient(ctx, o.Route.String())
	}
	if carrier := n.cfg.Tracer.Inject(ctx, nil); len(carrier) > 0 {
		o.headers.Trace = tracePairs(carrier)
	}
	if o.config.key != "" {
		o.headers.Idempotency = []byte(o.config.key)
	}
	o.headers.Metadata = o.Metadata.pairs
	o.headers.Codec = uint64(n.cfg.Codec.ID())

	err := o.encode(n)
	if err == nil && o.plan.Mirror != nil {
		n.mirrors.send(o)
	}
	if err == nil && o.plan.Fault != nil {
		err = o.fault(ctx)
	}
	if err == nil {
		err = o.run(ctx)
	}
	o.span.End(uint32(CodeOf(err)), err)
	return err
}

// prepare checks the call and finds its service.
func (n *Node) prepare(ctx context.Context, o *outgoing) error {
	if _, err := n.socket(); err != nil {
		return err
	}
	var err error
	if o.service, err = n.service(o.Route.Service); err != nil {
		return err
	}
	if err := o.config.checkTags(); err != nil {
		return err
	}
	if !isName(o.Route.Name) || o.Route.Level > ReadOnly {
		return o.Route.Validate()
	}
	if o.config.sized && (o.config.size < 1 || o.config.size > maxMessageCap) {
		return Errorf(InvalidArgument, "MaxMessage is %d, want 1 to %d", o.config.size, maxMessageCap)
	}
	if len(o.Metadata.pairs) > 0 {
		if err := o.Metadata.validate(); err != nil {
			return err
		}
	}
	if len(o.config.key) > wire.MaxKeyBytes {
		return Errorf(InvalidArgument, "idempotency key of %d bytes, want at most %d", len(o.config.key), wire.MaxKeyBytes)
	}
	o.now = time.Now()
	o.began = o.now
	o.deadline, o.dated = ctx.Deadline()
	if err := ctx.Err(); err != nil {
		return Errorf(CodeOf(err), "before the call: %w", context.Cause(ctx))
	}
	select {
	case <-o.service.known:
	default:
		if err := o.meet(ctx); err != nil {
			return err
		}
	}
	if o.cares() {
		o.tried.Careful()
	}
	return o.choose(ctx)
}

// meet waits for a service that is not known yet, for as long as the topology says that is known meanwhile.
func (o *outgoing) meet(ctx context.Context) error {
	o.describe()
	o.limit(o.service.view.Load().plans.Route(&o.request))
	err := o.service.wait(ctx, o.deadline)
	o.now = time.Now()
	return err
}

// limit makes the deadline that of a plan, unless the caller has set one.
func (o *outgoing) limit(plan *topology.Plan) {
	if o.dated {
		return
	}
	t := plan.Timeout
	if t <= 0 {
		t = o.service.node.cfg.CallTimeout
	}
	o.deadline = o.began.Add(t)
}

func tracePairs(c tracing.Carrier) []wire.Pair {
	out := make([]wire.Pair, 0, len(c))
	for _, p := range c {
		out = append(out, wire.Pair{Key: p.Key, Value: p.Value})
	}
	slices.SortFunc(out, wire.ComparePairs)
	return out
}

// encode writes the DATA frame once for all attempts.
func (o *outgoing) encode(n *Node) error {
	b := o.data
	if hint := int(o.service.sizes.Load()); cap(b) < hint {
		transport.PutBuffer(b)
		b = transport.GetBuffer(hint)
	}
	b, body := wire.BeginFrame(b, wire.KindData, 0)
	b, err := n.cfg.Codec.Append(b, o.Request)
	o.data = b
	if err != nil {
		return uncoded(err, InvalidArgument, "encoding the request")
	}
	o.size = len(b) - body
	o.service.sizes.note(len(b))
	if o.size > maxMessageCap {
		return o.tooLarge(maxMessageCap, "the most that any message may have,", "")
	}
	if err := wire.EndFrame(b, body); err != nil {
		return Errorf(ResourceExhausted, "%w", err)
	}
	return nil
}

// run makes attempts until one settles the call.
func (o *outgoing) run(ctx context.Context) error {
	s := o.service
	if !o.copied {
		s.budget.earn()
	}
	for {
		e, session, err := o.next(ctx, o.class())
		if err != nil {
			return err
		}
		settled, err := o.attempt(ctx, e, session)
		if settled {
			return err
		}
		o.last, o.failure, o.now = err, err, time.Now()
		o.picks++
	}
}

// maxRedials is how often one call tries an instance again whose connection
// ended, of idleness or age, in the moment before the call left.
const maxRedials = 2

func (o *outgoing) class() transport.Class {
	if o.size > transport.LeasedMessage {
		return transport.ClassBulk
	}
	return transport.ClassCalls
}
