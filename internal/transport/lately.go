package transport

import "container/list"

// lately is an LRU cache that holds values for a bounded number of keys. It is not safe for
// concurrent use.
type lately[K comparable, V any] struct {
	most int
	// of holds the elements of seen by key. Their values are of type *remembered[K, V].
	of map[K]*list.Element
	// seen has the key that was asked for last in front.
	seen list.List
}

type remembered[K comparable, V any] struct {
	key   K
	value V
}

func newLately[K comparable, V any](most int) lately[K, V] {
	return lately[K, V]{most: most, of: make(map[K]*list.Element)}
}

// at returns the value of a key, which is zero if the key is new. If there is no room for a new
// key, the least recently used one is evicted.
func (l *lately[K, V]) at(key K) *V {
	if known := l.of[key]; known != nil {
		l.seen.MoveToFront(known)
		return &known.Value.(*remembered[K, V]).value //nolint:errcheck,forcetypeassert // nothing else is put there
	}
	var r *remembered[K, V]
	if l.seen.Len() >= l.most {
		r = l.seen.Remove(l.seen.Back()).(*remembered[K, V]) //nolint:errcheck,forcetypeassert // as above
		delete(l.of, r.key)
		*r = remembered[K, V]{key: key}
	} else {
		r = &remembered[K, V]{key: key}
	}
	l.of[key] = l.seen.PushFront(r)
	return &r.value
}
