package discovery

import "context"

// Lister is implemented by registries that can list their services. It serves error messages: an
// error about an unknown service suggests the name that was probably meant.
type Lister interface {
	// Services returns the names of the services that have an instance in a namespace, sorted and
	// without duplicates, at most 4096 of them. An empty namespace is DefaultNamespace.
	// Services asks the back end once and waits for the answer until ctx ends. The caller owns the
	// result.
	//
	// Errors: ErrInvalidQuery, ErrClosed, ctx's error, and errors of the back end.
	Services(ctx context.Context, namespace string) ([]string, error)
}
