package pubsub

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"

	"github.com/linkmesh/link"
)

// maxConcurrency bounds [Concurrency].
const maxConcurrency = 1024

// workerQueue is how many messages wait for each worker.
const workerQueue = 16

// Concurrency sets how many calls of the handler of [SubscribeFunc] may run at a time, at
// most 1024; 0 means 1, which handles all messages in order. With more, messages with the
// same topic and key are handled in order; other messages, and messages without a key, are
// not. It has no effect on [Subscribe].
func Concurrency(n int) SubscribeOption {
	return subscribeOption(func(s *settings) { s.concurrency = n })
}

// OnGap makes [SubscribeFunc] call f for missing messages, with the ID of their publisher.
// If [Concurrency] is 1, f is called where the messages would have been handled. Without OnGap,
// SubscribeFunc logs gaps. It has no effect on [Subscribe], which yields gaps as messages.
func OnGap(f func(publisher string, gap Gap)) SubscribeOption {
	return subscribeOption(func(s *settings) { s.onGap = f })
}

// SubscribeFunc subscribes as [Subscribe] does and calls f with every message until the
// subscription ends; gaps go to [OnGap]. The context of f carries a span that is linked to
// the publisher's, and ends with the subscription.
//
// In the class AtLeastOnce a nil error acks the message; [Retry] and [Release] say
// otherwise, and any other error is a failed attempt, after which the message is delivered
// again later. What f returns has no effect on a message that f has answered itself. The
// text of the cause is kept for dead letters at the publisher. In the other classes an
// error is logged. A panic of f, or of a type that decodes itself, counts as an error and does not end the subscription.
//
// All messages of the subscription go to f: do not range over it as well.
func SubscribeFunc[T any](ctx context.Context, node *link.Node, t Topic[T], f func(ctx context.Context, m Message[T]) error, opts ...SubscribeOption) (*Subscription[T], error) {
	if f == nil {
		return nil, link.Errorf(link.InvalidArgument, "subscribe to %s: the handler is nil", t)
	}
	s, err := Subscribe(ctx, node, t, opts...)
	if err != nil {
		return nil, err
	}
	s.handled = true
	h := &handler[T]{sub: s, f: f, seed: maphash.MakeSeed()}
	s.running.Go(h.run)
	return s, nil
}

// handler passes messages on to the workers of a subscription.
type handler[T any] struct {
	sub  *Subscription[T]
	f    func(ctx context.Context, m Message[T]) error
	seed maphash.Seed
}

// errExited is why an attempt has failed whose handler has ended its goroutine.
var errExited = errors.New("the handler ended its goroutine")

// again is deferred where user code runs. If that has ended the goroutine with runtime.Goexit, another one goes on, because
// the subscription would stop silently.
func (h *handler[T]) again(returned *bool, in *sync.WaitGroup, f func()) {
	if !*returned {
		link.HostOf(h.sub.node).Logger().Error("pubsub: a handler of a subscription ended its goroutine (runtime.Goexit, or FailNow of a test); another goes on", "topic", h.sub.name)
		in.Go(f)
	}
}

func (h *handler[T]) run() {
	returned := false
	defer h.again(&returned, &h.sub.running, h.run)
	h.serve()
	returned = true
}

// serve handles messages until the subscription ends.
func (h *handler[T]) serve() {
	n := max(h.sub.want.concurrency, 1)
	if n == 1 {
		for m := range h.sub.Messages() {
			if !h.gap(m) {
				h.handle(m)
			}
		}
		return
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	// free takes messages without a key. Messages are passed by pointer because T may be large.
	free := make(chan *Message[T], n*workerQueue)
	defer close(free)
	keyed := make([]chan *Message[T], n)
	for i := range keyed {
		keyed[i] = make(chan *Message[T], workerQueue)
		defer close(keyed[i])
		var work func()
		work = func() {
			returned := false
			defer h.again(&returned, &workers, work)
			h.work(keyed[i], free)
			returned = true
		}
		workers.Go(work)
	}
	for m := range h.sub.Messages() {
		if h.gap(m) {
			continue
		}
		to := free
		if m.Key != "" {
			to = keyed[maphash.String(h.seed, m.Topic+"\x00"+m.Key)%uint64(n)]
		}
		select {
		case to <- &m:
		case <-h.sub.ctx.Done():
			return
		}
	}
}

// work handles messages until both channels are closed. It drops messages that are left
// when the subscription has ended, just as messages on the wire are dropped.
func (h *handler[T]) work(keyed, free <-chan *Message[T]) {
	for keyed != nil || free != nil {
		var m *Message[T]
		var ok bool
		select {
		case m, ok = <-keyed:
			if !ok {
				keyed = nil
			}
		case m, ok = <-free:
			if !ok {
				free = nil
			}
		}
		if ok && h.sub.ctx.Err() == nil {
			h.handle(*m)
		}
	}
}

// gap reports whether m is a gap, and if so passes it to OnGap or logs it.
func (h *handler[T]) gap(m Message[T]) bool {
	if m.Gap == nil {
		return false
	}
	if f := h.sub.want.onGap; f != nil {
		h.tell(f, m)
		return true
	}
	link.HostOf(h.sub.node).Logger().Warn("pubsub: messages are missing", "topic", h.sub.name, "publisher", m.Publisher,
		"reason", m.Gap.Reason, "count", m.Gap.Count, "from", m.Gap.From, "to", m.Gap.To)
	return true
}

// tell calls the function of OnGap, whose panic must not end the process.
func (h *handler[T]) tell(f func(publisher string, gap Gap), m Message[T]) {
	defer func() {
		if p := recover(); p != nil {
			_ = h.sub.panicked("function of OnGap", p) // which is logged
		}
	}()
	f(m.Publisher, *m.Gap)
}

func (h *handler[T]) handle(m Message[T]) {
	ctx, span := m.process(h.sub.ctx, link.HostOf(h.sub.node).Tracer())
	f, err := failureOf(errExited), errExited
	// This runs even if the handler ends its goroutine.
	defer func() {
		span.End(uint32(link.CodeOf(err)), err)
		h.answer(&m, f, err)
	}()
	f, err = h.call(ctx, m)
}

// answer answers a message whose handler has returned err, which f is made of.
func (h *handler[T]) answer(m *Message[T], f failure, err error) {
	switch {
	case err == nil:
		m.Ack()
	case m.acked():
		m.giveBack(f)
		if m.conn.Member.Ended() {
			link.HostOf(h.sub.node).Logger().Error("pubsub: the handler of a subscription failed, and the publisher has ended: the message will not be delivered again",
				"topic", m.Topic, "publisher", m.Publisher, "seq", m.Seq, "error", err)
		}
	default:
		link.HostOf(h.sub.node).Logger().Error("pubsub: the handler of a subscription failed", "topic", m.Topic, "publisher", m.Publisher, "seq", m.Seq, "error", err)
	}
}

// call runs the handler. The failure is what its error stands for; the error is read here
// because its methods may panic as well.
func (h *handler[T]) call(ctx context.Context, m Message[T]) (f failure, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = h.sub.panicked("handler", p)
			f = failureOf(err)
		}
	}()
	// A message that could not be decoded counts as failed, and in time becomes a dead letter.
	if err = m.Err; err == nil {
		err = h.f(ctx, m)
	}
	if err != nil {
		f = failureOf(err)
	}
	return f, err
}
