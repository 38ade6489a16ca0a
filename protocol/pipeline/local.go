package pipeline

import (
	"bytes"
	"context"
	"io"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/flow"
)

// stream is the part of [link.Stream] that a queue and a worker use. Within the node, localStream
// implements it.
type stream interface {
	Send(f link.Frame) error
	Recv() (link.Frame, error)
	Grant(messages, bytes int) error
	Credit() (messages, bytes uint64)
	Peer() link.Peer
	Context() context.Context
	Close()
}

// localStream is one end of a pair of streams within the node. It is needed because a draining node
// accepts no network streams any more, not even from its own queues.
type localStream struct {
	ctx     context.Context //nolint:containedctx // ends with the pair
	end     context.CancelCauseFunc
	in, out chan link.Frame
	peer    link.Peer
}

// toOwn returns a stream to the node's own worker, and a function that waits until the worker has
// served it to the end.
func (q *Queue) toOwn(ctx context.Context, w *Worker) (near stream, wait func(), err error) {
	self := systemOf(q.node).ownPeer()
	if err := w.mayPush(self); err != nil {
		return nil, nil, err
	}
	ctx, end := context.WithCancelCause(ctx)
	there, back := make(chan link.Frame, flow.Frames), make(chan link.Frame, flow.Frames)
	served := make(chan struct{})
	go func() {
		defer close(served)
		err := w.serve(ctx, &localStream{ctx, end, there, back, self})
		if err == nil {
			err = io.EOF
		}
		end(err)
	}()
	return &localStream{ctx, end, back, there, self}, func() { <-served }, nil
}

// ownPeer returns the node as its own worker sees it over the network. If no stream has reached the
// worker yet, ownPeer makes a peer: the worker then holds nothing of the node's queues that it would
// have to recognize.
func (s *system) ownPeer() link.Peer {
	if peer := s.sight.seen(); peer != nil {
		return *peer
	}
	identity := s.node.Identity()
	return link.Peer{Identity: identity, Instance: s.node.Instance(), Addr: s.node.Addr(), Advisory: identity.Advisory()}
}

func (s *localStream) Send(f link.Frame) error {
	f.Body = bytes.Clone(f.Body)
	select {
	case s.out <- f:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// Recv returns all frames that were sent before the end, and then the cause of the end.
func (s *localStream) Recv() (link.Frame, error) {
	select {
	case f := <-s.in:
		return f, nil
	default:
	}
	select {
	case f := <-s.in:
		return f, nil
	case <-s.ctx.Done():
	}
	select {
	case f := <-s.in:
		return f, nil
	default:
		return link.Frame{}, context.Cause(s.ctx)
	}
}

// Grant does nothing: the capacity of the channels bounds what is in flight.
func (s *localStream) Grant(int, int) error             { return nil }
func (s *localStream) Credit() (messages, bytes uint64) { return flow.Frames, mostCredit }
func (s *localStream) Peer() link.Peer                  { return s.peer }
func (s *localStream) Context() context.Context         { return s.ctx }
func (s *localStream) Close()                           { s.end(link.Errorf(link.Canceled, "the stream was closed")) }

// callHomeLocked makes the queue of a draining node connect to the node's own worker, if no worker
// is connected: the topology lists none any more.
func (q *Queue) callHomeLocked() {
	if q.tasks.Len() == 0 || q.ownWorker() == nil {
		return
	}
	for l := range q.workers.All() {
		if l.worker != nil {
			return
		}
	}
	q.workers.Join(q.linkTo(q.node.Instance()))
}

// ownWorker returns the node's own worker of the stage. It returns nil if there is none, or if the
// queue has options that choose among workers.
func (q *Queue) ownWorker() *Worker {
	if len(q.set.calls) > 0 {
		return nil
	}
	for _, w := range systemOf(q.node).allWorkers() {
		if w.route == q.route {
			return w
		}
	}
	return nil
}

// open opens a stream to the worker. Once the stream has ended, leave must be called.
func (l *workerLink) open(ctx context.Context) (st stream, credit int, leave func(), err error) {
	q := l.queue
	if l.ID == q.node.Instance() && q.isFinishing() {
		if w := q.ownWorker(); w != nil {
			near, wait, err := q.toOwn(ctx, w)
			return near, mostCredit, wait, err
		}
	}
	shares := flow.SharesOf(q.node)
	remote, credit, err := shares.Open(ctx, q.node, q.route, l.ID)
	if err != nil {
		return nil, 0, nil, err
	}
	return remote, credit, func() { shares.Leave(l.ID) }, nil
}

func (q *Queue) isFinishing() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.finishing
}
