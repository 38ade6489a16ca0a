package link

import "context"

// Call makes one unary call: it encodes in, sends it to an instance of the
// route's service, and decodes the reply into out, a pointer. It blocks until
// the reply is there, at most until ctx ends or, if ctx has no deadline, for the timeout
// of the topology, else of the route ([Timeout]), else for Config.Limits.CallTimeout.
//
// Errors: those that the handler returns, with Remote set; Unavailable if no
// instance can be reached or one was lost during the call; DeadlineExceeded and
// Canceled, with the cause of ctx; Unimplemented if the service has no such
// route; ResourceExhausted if a message is larger than either side allows.
func (h Host) Call(ctx context.Context, r Route, in, out any, opts ...CallOption) error {
	n := h.node
	var err error
	if len(n.cfg.ClientMiddleware) == 0 {
		c, _ := calls.Get().(*call)
		c.init(r, in, out, opts)
		err = n.call(ctx, c)
		c.recycle()
	} else {
		// Middleware may keep the operation, so it is not recycled.
		c := &call{}
		c.init(r, in, out, opts)
		err = n.invoke(context.WithValue(ctx, callKey{}, c), &c.Operation)
	}
	if err != nil {
		return failed("call "+r.String(), err)
	}
	return nil
}

// callTerminal is the innermost handler of the client's middleware. Each time it
// is called it makes a call of its own from the operation as it is then: next may
// run twice, and may still run after the outer handler has returned.
func (n *Node) callTerminal(ctx context.Context, op *Operation) error {
	c, err := callOf(ctx, op)
	if err != nil {
		return err
	}
	err = n.call(ctx, c)
	op.Peer, op.Attempt = c.Peer, c.search.Attempts()
	c.giveBack()
	return err
}

func (n *Node) call(ctx context.Context, c *call) error {
	if err := n.prepare(ctx, c); err != nil {
		return err
	}
	if n.tracer().Enabled() {
		ctx, c.span = n.tracer().StartClient(ctx, c.Route.String())
	}
	c.describe(ctx)
	if c.config.key != "" {
		c.attempt.headers.Idempotency = []byte(c.config.key)
	}
	err := c.encode()
	if err == nil {
		n.mirrors.send(c, (*call).run)
		err = c.fault(ctx)
	}
	if err == nil {
		err = c.run(ctx)
	}
	c.span.End(uint32(CodeOf(err)), err)
	return err
}

// run makes attempts until one settles the call.
func (c *call) run(ctx context.Context) error {
	c.search.Earn()
	for {
		t, err := c.search.Next(ctx, c.class())
		if err != nil {
			return routed(err)
		}
		if err := c.begin(ctx, t); err != nil {
			return err
		}
		a := &c.attempt
		err = t.Session.CallMovable(ctx, a.start, c.search.Deadline(), &a.headers, c.data, c.mover(), &a.reply)
		settled, err := c.end(ctx, err)
		if settled {
			return err
		}
		c.search.Failed(uint32(CodeOf(err)), err)
	}
}
