package link

import (
	"context"
	"sync"
)

// extensions are the values that patterns store with a node.
type extensions struct {
	mu     sync.Mutex // guards the field below
	values map[any]any
}

// Extension returns the value that a pattern stores with the node under key. As with
// [context.WithValue], key should be of a type of the pattern's own. The first call
// makes the value with create, which must not call Extension. The value lives as long
// as the node; its goroutines should end with streams or with the contexts of their
// callers, or be started by [Node.Go].
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

// Go runs f on a goroutine of the node, for patterns. The context of f ends when the
// node closes, after it has drained, and [Node.Close] waits for f to return. Go reports
// false, and does not run f, if the node is closed.
func (n *Node) Go(f func(ctx context.Context)) bool { return n.group.Go(f) }
