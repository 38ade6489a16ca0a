package subject

import "slices"

// A bucket of kids splits when it is full, 16 ways by the next four bits of the
// hash, so that a change copies a few short lists however many tokens there are.
const (
	bucketSize = 8
	fanBits    = 4
	hashBits   = 64
)

// kids is an immutable map from tokens to nodes; nil is the empty one. It is either a
// bucket or a fan.
type kids[T comparable] struct {
	bucket []kid[T]
	fan    *[1 << fanBits]*kids[T]
}

type kid[T comparable] struct {
	token string
	hash  uint64
	node  *node[T]
}

func (k *kids[T]) get(token string, hash uint64) *node[T] {
	for h := hash; k != nil; h >>= fanBits {
		if k.fan == nil {
			for i := range k.bucket {
				if c := &k.bucket[i]; c.hash == hash && c.token == token {
					return c.node
				}
			}
			return nil
		}
		k = k.fan[h%(1<<fanBits)]
	}
	return nil
}

// put returns a copy with the node under the token; a nil node removes it. shift is
// how many bits of the hash the way here has used.
func (k *kids[T]) put(token string, hash uint64, shift int, n *node[T]) *kids[T] {
	if k == nil {
		if n == nil {
			return nil
		}
		return &kids[T]{bucket: []kid[T]{{token, hash, n}}}
	}
	if k.fan != nil {
		fan := *k.fan
		i := hash >> shift % (1 << fanBits)
		fan[i] = fan[i].put(token, hash, shift+fanBits, n)
		if fan == [1 << fanBits]*kids[T]{} {
			return nil
		}
		return &kids[T]{fan: &fan}
	}
	bucket := slices.DeleteFunc(slices.Clone(k.bucket), func(c kid[T]) bool { return c.token == token })
	if n != nil {
		bucket = append(bucket, kid[T]{token, hash, n})
	}
	switch {
	case len(bucket) == 0:
		return nil
	case len(bucket) <= bucketSize || shift >= hashBits:
		return &kids[T]{bucket: bucket}
	}
	split := &kids[T]{fan: &[1 << fanBits]*kids[T]{}}
	for _, c := range bucket {
		i := c.hash >> shift % (1 << fanBits)
		split.fan[i] = split.fan[i].put(c.token, c.hash, shift+fanBits, c.node)
	}
	return split
}
