package discovery

import "context"

// Finder is implemented by registries that can report which services have an instance with a tag.
// Use it for a feature that any service may offer, instead of maintaining a list of services.
//
// Like all data from a registry, the names are a hint. [Registry.Watch] follows the instances of
// each. A stale name therefore only costs a watch that shows no instance with the tag, and a failing
// registry does not remove names.
type Finder interface {
	// Find follows the names of the services that have an instance which q selects, including
	// draining instances, until ctx ends, and then closes the channel. As with Registry.Watch, the
	// channel holds only the newest complete list, and the first comes promptly, even if it is empty.
	// A list is sorted, has no duplicates, is shared by all receivers, and must not be modified. While
	// the registry cannot be read, the last list stays valid.
	//
	// A list has at most 4096 names, the number of services that a node of package link calls. If there
	// are more, names that were delivered before stay, so that new ones cannot push them out, and the
	// rest is filled in alphabetical order. The others are left out, and logged by back ends that log.
	//
	// Errors: ErrInvalidQuery, ErrLimit, ErrClosed, ctx's error if it has already ended, and
	// permanent errors of the back end.
	Find(ctx context.Context, q TagQuery) (<-chan []string, error)
}

// TagQuery selects what Find follows: the instances with one tag in one namespace. An empty
// Namespace is DefaultNamespace.
type TagQuery struct {
	Tag       string
	Namespace string
}

// Normalized returns q with its defaults filled in, so that equal queries compare equal.
func (q TagQuery) Normalized() TagQuery {
	if q.Namespace == "" {
		q.Namespace = DefaultNamespace
	}
	return q
}

// String returns namespace/tag, with defaults filled in.
func (q TagQuery) String() string {
	q = q.Normalized()
	return q.Namespace + "/" + q.Tag
}

// Validate checks the tag against the rules of Instance.Tags, and checks the namespace. The error is
// a *FieldError that wraps ErrInvalidQuery.
func (q TagQuery) Validate() error {
	if reason := checkTag(q.Tag); reason != "" {
		return &FieldError{Kind: ErrInvalidQuery, Field: "Tag", Value: q.Tag, Reason: reason}
	}
	return Query{Namespace: q.Namespace}.ValidateNamespace()
}
