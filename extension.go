package link

import "sync"

// extensions are what patterns keep with a node.
type extensions struct {
	mu     sync.Mutex // guards the field below
	values map[any]any
}

// Extension returns what a pattern keeps with the node under key, a value of a
// type of its own, as with [context.WithValue]. The first call makes it with create, which
// must not call Extension. What is kept lives as long as the node; its goroutines
// should end with streams or with contexts of their callers.
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
