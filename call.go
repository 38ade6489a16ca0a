package link

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// outgoing is the state of one unary call, or of one stream that is being opened.
type outgoing struct {
	Operation

	config  callConfig
	service *service
	// now is the last reading of the clock.
	now      time.Time
	began    time.Time
	deadline time.Time
	// dated means that the caller set the deadline, which no plan changes.
	dated   bool
	headers wire.Headers
	// data is the encoded DATA frame of the request.
	data  []byte
	reply transport.Reply
	// inline is room for metadata.
	inline [4]wire.Pair
	// size is the size of the request message in bytes.
	size     int
	span     trace.ClientSpan
	attempts int
	// retry means that the previous attempt may have run and that another one is allowed.
	retry bool
	// broke means that another attempt was wanted, but the retry budget was used up.
	broke bool
	// refusals counts the attempts that no handler saw.
	refusals int
	// picks counts the instances that the call looked at.
	picks int
	// passed counts the picks that had no connection and that this call did not dial.
	passed int
	// leaver is an instance that announced that it drains.
	leaver *endpoint
	// doubted is an instance with a connection that is in doubt, or that is ejected.
	doubted *endpoint
	// at is the instance, and by the connection, on which the call waits if it may be moved.
	at *endpoint
	by *transport.Session
	// room is how many instances may be pending at once.
	room int
	// widened means that no pending instance answered soon enough.
	widened bool
	pending []pending
	// redials counts the connections that ended before the call was sent.
	redials int
	// ended counts the connections that ended as soon as they were made.
	ended int
	// waits is when the call began to wait for an instance, if it has WaitForReady.
	waits time.Time
	tried balance.Tried[*instance]
	// request is what the topology decides by.
	request policy.Request
	plan    *policy.Plan
	// copied means that this is a mirrored copy: its plan is given, and it neither earns nor takes retries.
	copied bool
	// levels are where the call may go, best first; level is the index of the current one.
	levels []level
	level  int
	// unheard is a failover service whose instances are not known yet.
	unheard *service
	key     balance.Key
	// keyed is the plan that key belongs to.
	keyed *policy.Plan
	// last is the last error since the call began to go through the instances.
	last error
	// failure is why the last attempt failed.
	failure error
}

type outgoingKey struct{}

// Call makes one unary call: it encodes in, sends it to an instance of the
// route's service, and decodes the reply into out, a pointer. It blocks until
// the reply is there, at most until ctx ends or, if ctx has no deadline, for
// Config.CallTimeout.
//
// Errors: those that the handler returns, with Remote set; Unavailable if no
// instance can be reached or one was lost during the call; DeadlineExceeded and
// Canceled, with the cause of ctx; Unimplemented if the service has no such
// route; ResourceExhausted if a message is larger than either side allows.
func (n *Node) Call(ctx context.Context, r Route, in, out any, opts ...CallOption) error {
	var err error
	if len(n.cfg.Client) == 0 {
		o, _ := outgoings.Get().(*outgoing)
		o.init(r, in, out, opts)
		err = n.call(ctx, o)
		o.recycle()
	} else {
		// Middleware may keep the operation, so it is not recycled.
		o := &outgoing{}
		o.init(r, in, out, opts)
		err = n.invoke(context.WithValue(ctx, outgoingKey{}, o), &o.Operation)
	}
	if err != nil {
		return failed("call "+r.String(), err)
	}
	return nil
}

// outgoings recycles outgoing values, which are large and short-lived. It is
// only a cache, so it may be global.
var outgoings = sync.Pool{New: func() any { return new(outgoing) }} //nolint:gochecknoglobals // see above

func (o *outgoing) init(r Route, in, out any, opts []CallOption) {
	o.Route, o.Client, o.Request, o.Response = r, true, in, out
	o.config.metadata.pairs = o.inline[:0]
	for _, opt := range opts {
		opt.applyCall(&o.config)
	}
	o.Metadata = o.config.metadata
}

// keepData is the largest message buffer, in bytes, that a recycled call keeps.
const keepData = 16 << 10

// recycle returns the call to the pool. Only its message buffer is kept.
func (o *outgoing) recycle() {
	data := o.data
	if cap(data) > keepData {
		transport.PutBuffer(data)
		data = nil
	}
	*o = outgoing{data: data[:0]}
	outgoings.Put(o)
}

// giveBack returns the message buffer to its pool.
func (o *outgoing) giveBack() {
	transport.PutBuffer(o.data)
	o.data = nil
}

// callTerminal is the innermost handler of the client's middleware. Each time it
// is called it makes a call of its own from the operation as it is then: next may
// run twice, and may still run after the outer handler has returned.
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

// outgoingOf returns a new call made from op, with the options of the caller.
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
	if n.tracer().Enabled() {
		ctx, o.span = n.tracer().StartClient(ctx, o.Route.String())
	}
	if carrier := n.tracer().Inject(ctx, nil); len(carrier) > 0 {
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

// prepare checks the call, finds its service and chooses where it may go.
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

// meet waits until the service is known, at most for the timeout of the topology that is known so far.
func (o *outgoing) meet(ctx context.Context) error {
	o.describe()
	o.limit(o.service.view.Load().plans.Route(&o.request))
	err := o.service.wait(ctx, o.deadline)
	o.now = time.Now()
	return err
}

// limit sets the deadline from the timeout of a plan, unless the caller has set one.
func (o *outgoing) limit(plan *policy.Plan) {
	if o.dated {
		return
	}
	t := plan.Timeout
	if t <= 0 {
		t = o.service.node.cfg.CallTimeout
	}
	o.deadline = o.began.Add(t)
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

// maxRedials is how often one call tries an instance again because its connection
// ended, by idleness or age, just before the call was sent.
const maxRedials = 2

func (o *outgoing) class() transport.Class {
	if o.size > transport.LeasedMessage {
		return transport.ClassBulk
	}
	return transport.ClassCalls
}
