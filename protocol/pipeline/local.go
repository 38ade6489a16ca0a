package pipeline

import (
	"bytes"
	"context"
	"io"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/security"
)

// stream is what a queue and a worker need of a [link.Stream], or of an end of a pair within the
// node.
type stream interface {
	Send(f link.Frame) error
	Recv() (link.Frame, error)
	Grant(messages, bytes int) error
	Credit() (messages, bytes uint64)
	Peer() link.Peer
	Context() context.Context
	Close()
}

// localStream is one end of a pair. A node that drains takes no streams any more, also none of its
// own queues.
type localStream struct {
	ctx     context.Context //nolint:containedctx // ends with the pair
	end     context.CancelCauseFunc
	in, out chan link.Frame
	peer    link.Peer
}

// toOwn returns a stream to the worker of the node itself, and what waits for the end of that.
func (q *Queue) toOwn(ctx context.Context, w *Worker) (near stream, wait func(), err error) {
	self := systemOf(q.node).ownPeer()
	if err := w.mayPush(self); err != nil {
		return nil, nil, err
	}
	ctx, end := context.WithCancelCause(ctx)
	there, back := make(chan link.Frame, lane.Frames), make(chan link.Frame, lane.Frames)
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

// ownPeer is the node as its own worker knows it by the network; if no stream has led to it yet, the
// worker has nothing of its queues that it should know again.
func (s *system) ownPeer() link.Peer {
	if peer := s.sight.seen(); peer != nil {
		return *peer
	}
	identity := s.node.Identity()
	domain := identity.TrustDomain()
	return link.Peer{
		Identity: identity, Instance: s.node.Instance(), Addr: s.node.Addr(),
		Advisory: domain == security.ClusterTrustDomain || domain == security.DevTrustDomain,
	}
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

// Recv returns what was sent before the end first.
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

// Grant does nothing: each end has what the channels hold.
func (s *localStream) Grant(int, int) error             { return nil }
func (s *localStream) Credit() (messages, bytes uint64) { return lane.Frames, mostCredit }
func (s *localStream) Peer() link.Peer                  { return s.peer }
func (s *localStream) Context() context.Context         { return s.ctx }
func (s *localStream) Close()                           { s.end(link.Errorf(link.Canceled, "the stream was closed")) }

// callHomeLocked has the queue of a node that drains reach the node's own worker, if it reaches
// no other: the topology leads nowhere any more.
func (q *Queue) callHomeLocked() {
	if q.tasks.Len() == 0 || q.ownWorker() == nil {
		return
	}
	for _, l := range q.links {
		if l.worker != nil {
			return
		}
	}
	select {
	case q.home <- struct{}{}:
	default:
	}
}

// ownWorker is that of the node itself, nil if there is none or the queue was told to choose among
// workers.
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

// open begins a stream to a worker.
func (l *workerLink) open(ctx context.Context) (st stream, credit int, leave func(), err error) {
	q := l.queue
	if l.id == q.node.Instance() && q.isFinishing() {
		if w := q.ownWorker(); w != nil {
			near, wait, err := q.toOwn(ctx, w)
			return near, mostCredit, wait, err
		}
	}
	shares := lane.SharesOf(q.node)
	remote, credit, err := shares.Open(ctx, q.node, q.route, l.id)
	if err != nil {
		return nil, 0, nil, err
	}
	return remote, credit, func() { shares.Leave(l.id) }, nil
}

func (q *Queue) isFinishing() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.finishing
}
