package transport

import "container/list"

// lately remembers something of the keys that were asked for last. It is not safe for
// concurrent use.
type lately[K comparable, V any] struct {
	most int
	of   map[K]*list.Element // of *remembered[K, V]
	seen list.List           // the last one is in front
}

type remembered[K comparable, V any] struct {
	key   K
	value V
}

func newLately[K comparable, V any](most int) lately[K, V] {
	return lately[K, V]{most: most, of: make(map[K]*list.Element)}
}

// at returns what is remembered of a key, zero if that is nothing. If there is no room for one
// more, the one makes way that was not asked for for longest.
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
