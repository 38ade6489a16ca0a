package feed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/linkmesh/link/discovery"
)

// key is what is watched; equal ones compare equal.
type key interface {
	comparable
	fmt.Stringer
	Validate() error
}

// hub hands the newest value of each watched key to its watchers. It owns no goroutine of its own;
// the ones that the end of a context starts are waited for by Close.
type hub[K key, V any] struct {
	ends sync.WaitGroup // one for each open watch, until its end has been handled

	mu      sync.Mutex // guards the fields below
	closed  bool
	watches int
	topics  map[K]*topic[V]
}

// topic is one watched key; it lives while it has watches.
type topic[V any] struct {
	watches map[*watch[V]]struct{}
	last    V
	known   bool // last has been delivered
	cut     bool // last is not whole
}

type watch[V any] struct {
	ch   chan V
	stop func() bool // what context.AfterFunc returned
}

// watch opens a watch of k, which sees the value known so far at once and otherwise waits for the
// next one.
func (h *hub[K, V]) watch(ctx context.Context, k K) (<-chan V, error) {
	if err := k.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("discovery: watch %s: %w", k, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, fmt.Errorf("watch %s: %w", k, discovery.ErrClosed)
	}
	if h.watches >= MaxWatches {
		return nil, fmt.Errorf("watch %s: %w: %d watches are open; end some", k, discovery.ErrLimit, h.watches)
	}
	t := h.topics[k]
	if t == nil {
		t = &topic[V]{watches: make(map[*watch[V]]struct{})}
		h.topics[k] = t
	}
	w := &watch[V]{ch: make(chan V, 1)}
	t.watches[w] = struct{}{}
	h.watches++
	if t.known {
		w.offer(t.last)
	}
	h.ends.Add(1)
	w.stop = context.AfterFunc(ctx, func() {
		defer h.ends.Done()
		h.end(k, w)
	})
	return w.ch, nil
}

// offer replaces what the channel holds. All sends happen under the hub's lock, so the second
// send finds room: receivers can only make more of it.
func (w *watch[V]) offer(v V) {
	select {
	case <-w.ch:
	default:
	}
	w.ch <- v
}

func (h *hub[K, V]) end(k K, w *watch[V]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[k]
	if t == nil {
		return
	}
	if _, open := t.watches[w]; !open {
		return
	}
	delete(t.watches, w)
	if len(t.watches) == 0 {
		delete(h.topics, k)
	}
	h.watches--
	close(w.ch)
}

func (t *topic[V]) deliver(v V) {
	t.last, t.known = v, true
	for w := range t.watches {
		w.offer(v)
	}
}

// Queries returns what is watched in no order, and whether one of them waits for its first value.
func (h *hub[K, V]) Queries() (queries []K, waiting bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.topics {
		waiting = waiting || !t.known
	}
	return slices.Collect(maps.Keys(h.topics)), waiting
}

// Close ends all watches and waits until nothing of them runs. It is idempotent.
func (h *hub[K, V]) Close() {
	h.mu.Lock()
	h.closed = true
	for _, t := range h.topics {
		for w := range t.watches {
			close(w.ch)
			if w.stop() {
				h.ends.Done()
			}
		}
	}
	clear(h.topics)
	h.watches = 0
	h.mu.Unlock()
	h.ends.Wait()
}
