package discovery

import "context"

// Finder is implemented by registries that can say which services have an instance with a tag. It
// is for what any service may offer, so that nobody has to keep a list of those that do.
//
// What it says is a hint, as all that a registry says: names, whose instances [Registry.Watch]
// follows. So a name that stays too long costs a watch that shows nobody with the tag, and a
// registry that is ill withdraws none.
type Finder interface {
	// Find follows the names of the services that have an instance which q selects, draining ones
	// included, until ctx ends, and then closes the channel. As with Registry.Watch the channel holds
	// the newest list only, whole, and the first comes promptly, even if it is empty. A list is sorted,
	// without repeats, shared by all receivers, and must not be modified; it has at most MaxServices
	// names. While the registry cannot be read the last list stands.
	//
	// Errors: ErrInvalidQuery, ErrLimit, ErrClosed, ctx's error if it has already ended, and those of
	// the back end that waiting would not cure.
	Find(ctx context.Context, q TagQuery) (<-chan []string, error)
}

// MaxServices is the number of names that one Find delivers. Of more, those that were delivered
// before stay, so that nobody pushes them out, then they go by their order; the others are left
// out, and logged by back ends that log. It is the number of services that a node of package link calls.
const MaxServices = 4096

// TagQuery selects what Find follows: the instances with one tag in one namespace.
type TagQuery struct {
	Tag       string
	Namespace string // "" is DefaultNamespace
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

// Validate holds the tag to the rules of Instance.Tags and checks the namespace. The error is a
// *FieldError that wraps ErrInvalidQuery.
func (q TagQuery) Validate() error {
	if reason := checkTag(q.Tag); reason != "" {
		return &FieldError{Kind: ErrInvalidQuery, Field: "Tag", Value: q.Tag, Reason: reason}
	}
	if q.Namespace != "" {
		if reason := checkWord(q.Namespace, MaxName); reason != "" {
			return &FieldError{Kind: ErrInvalidQuery, Field: "Namespace", Value: q.Namespace, Reason: reason}
		}
	}
	return nil
}
