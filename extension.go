package link

import (
	"context"
	"sync"
)

// extensions are what patterns keep with a node.
type extensions struct {
	mu     sync.Mutex // guards the field below
	values map[any]any
}

// Extension returns what a pattern keeps with the node under key, a value of a
// type of its own, as with [context.WithValue]. The first call makes it with create, which
// must not call Extension. What is kept lives as long as the node; its goroutines
// should end with streams or with contexts of their callers, or be started by
// [Node.Go].
func (n *Node) Extension(key any, create func() any) any {
	n.extensions.mu.Lock()
	defer n.extensions.mu.Unlock()
	if v, ok := n.extensions.values[key]; ok {
		return v
	}
	v := create()
	if n.extensions.values == nil {
		n.extensions.values = map[any]any{}
	}
	n.extensions.values[key] = v
	return v
}

// Go runs f on a goroutine of the node, for patterns: its context ends when the node
// closes, after it has drained, and [Node.Close] waits for f to return. It reports
// false, and runs nothing, if the node is closed.
func (n *Node) Go(f func(ctx context.Context)) bool { return n.group.Go(f) }
