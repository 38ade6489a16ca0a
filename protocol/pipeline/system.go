package pipeline

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link"
)

// system is the state of this pattern at a node.
type system struct {
	node *link.Node
	// defaults maps routes to the queues that the functions without a Producer use.
	defaults sync.Map
	serving  sync.Once
	// allow is the rule of Authorize; nil means that everybody may do everything.
	allow atomic.Pointer[func(Access) error]
	sight sightings

	mu      sync.Mutex // guards the fields below
	queues  []*Queue
	workers []*Worker
}

type systemKey struct{}

func systemOf(node *link.Node) *system {
	s, _ := link.HostOf(node).Extension(systemKey{}, func() any {
		s := &system{node: node}
		node.OnDrain(s.begin)
		link.HostOf(node).OnLastCall(s.drain)
		return s
	}).(*system)
	return s
}

// all returns the queues of the node.
func (s *system) all() []*Queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queues)
}

// defaultQueue returns the queue of a stage that the functions without a Producer use. It makes the
// queue if there is none yet.
func defaultQueue(node *link.Node, route link.Route) (*Queue, error) {
	s := systemOf(node)
	if q := s.known(route); q != nil {
		return q, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.known(route); q != nil {
		return q, nil
	}
	q, err := newQueue(node, route, queueSettings{})
	if err != nil {
		return nil, err
	}
	s.queues = append(s.queues, q)
	s.serve()
	s.defaults.Store(route, q)
	return q, nil
}

// allWorkers returns the workers of the node.
func (s *system) allWorkers() []*Worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.workers)
}

func (s *system) known(route link.Route) *Queue {
	v, _ := s.defaults.Load(route)
	q, _ := v.(*Queue)
	return q
}

func (s *system) add(q *Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues = append(s.queues, q)
	s.serve()
}

func (s *system) remove(q *Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues = slices.DeleteFunc(s.queues, func(o *Queue) bool { return o == q })
}

func (s *system) addWorker(w *Worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers = append(s.workers, w)
	s.serve()
}

// serve makes the node answer [QueryStats], if it belongs to a service.
func (s *system) serve() {
	service := link.HostOf(s.node).Service()
	if service == "" {
		return
	}
	s.serving.Do(func() {
		link.HostOf(s.node).HandleCall(statsRoute(service), link.CallHandler{
			New: func() any { return &struct{}{} },
			Serve: func(ctx context.Context, _ any) (any, error) {
				if err := s.mayInspect(link.Caller(ctx)); err != nil {
					return nil, err
				}
				stats := StatsOf(s.node)
				return &stats, nil
			},
		})
	})
}
