package discovery

import "context"

// Lister is implemented by registries that can say which services there are. It is for people: an
// error about a service that nobody has announced proposes the name that was meant.
type Lister interface {
	// Services returns the names of the services that have an instance in a namespace, "" for
	// DefaultNamespace, sorted and each once, at most MaxServices of them. It asks the back end once,
	// and waits for the answer until ctx ends; what it returns is the caller's.
	//
	// Errors: ErrInvalidQuery, ErrClosed, ctx's error, and those of the back end.
	Services(ctx context.Context, namespace string) ([]string, error)
}

// CheckNamespace says whether a namespace may be asked for. It is for implementers of Lister. The
// error is a *FieldError that wraps ErrInvalidQuery.
func CheckNamespace(namespace string) error {
	return Query{Service: "any", Namespace: namespace}.Validate()
}
