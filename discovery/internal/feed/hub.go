package feed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/linkmesh/link/discovery"
)

// key identifies what is watched.
type key interface {
	comparable
	fmt.Stringer
	Validate() error
}

// hub delivers the newest value of each watched key to its watchers. It has no goroutine of its own.
// Close waits for the goroutines that run when the context of a watch ends.
type hub[K key, V any] struct {
	// ends counts the watches whose end has not been handled yet.
	ends sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	closed  bool
	watches int
	topics  map[K]*topic[V]
}

// topic is one watched key. It exists while it has watches.
type topic[V any] struct {
	watches map[*watch[V]]struct{}
	last    V

	// known means that last has been delivered.
	known bool

	// cut means that last is not complete.
	cut bool
}

type watch[V any] struct {
	ch chan V

	// stop is the result of context.AfterFunc.
	stop func() bool
}

// watch opens a watch of k, which gets the known value at once or, if there is none yet, waits for
// the next one.
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

// offer replaces the value in the channel. All sends happen under the hub's lock, so the send never
// blocks: receivers can only free the buffer.
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

// Queries returns the watched keys in no particular order, and whether any of them waits for its
// first value.
func (h *hub[K, V]) Queries() (queries []K, waiting bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.topics {
		waiting = waiting || !t.known
	}
	return slices.Collect(maps.Keys(h.topics)), waiting
}

// Close ends all watches and waits for their goroutines. It is idempotent.
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
