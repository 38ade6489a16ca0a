package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A peer is one system that can echo bytes.
type peer interface {
	// name returns the peer's name in results and flags.
	name() string

	// serve listens on a free port of 127.0.0.1 with mutual TLS from m, calls
	// ready once with the address, and echoes until ctx ends. It returns nil
	// if it ended because of ctx.
	serve(ctx context.Context, m material, ready func(addr string)) error

	// dial returns a caller for the server at addr. It may connect lazily: the
	// warm-up comes before anything is measured.
	dial(ctx context.Context, m material, addr string) (caller, error)
}

// A caller makes echo calls on one server.
type caller interface {
	// call sends payload with the two pairs of callMetadata, if the system
	// has metadata, and returns the reply. ctx always has a deadline. payload
	// is shared by all calls and must not be changed or kept. call is safe for
	// concurrent use.
	call(ctx context.Context, payload []byte) ([]byte, error)

	close() error
}

// peers returns every system that echoes, in the order in which their runs are
// interleaved.
func peers() []peer {
	return []peer{
		linkPeer{},
		grpcPeer{},
		quicPeer{},
		rpcxPeer{},
	}
}

// callMetadata returns the key-value pairs that each call carries with its payload.
func callMetadata() [2][2]string {
	return [2][2]string{
		{"x-tenant", "acme"},
		{"x-request", "0b6f3a52-9d1c-4c7e-8f57-2f6f4e1a9c30"},
	}
}

// A named is a peer, broadcaster or dispatcher.
type named interface{ name() string }

func namesOf[T named](all []T) []string {
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = one.name()
	}
	return names
}

// find returns the element of all with the given name.
func find[T named](all []T, name string) (T, error) {
	for _, one := range all {
		if one.name() == name {
			return one, nil
		}
	}
	var none T
	return none, fmt.Errorf("no peer %q; there are %s", name, strings.Join(namesOf(all), ", "))
}

// checkSelf returns an error if self is not a peer in any row.
func checkSelf(self string) error {
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(namesOf(peers()), namesOf(broadcasters()), namesOf(dispatchers())))))
	if !slices.Contains(all, self) {
		return fmt.Errorf("no peer %q; there are %s", self, strings.Join(all, ", "))
	}
	return nil
}

// contestants returns the names of all peers of the row, with self first if it
// is one of them.
func (r row) contestants(self string) []string {
	field := r.peers()
	if i := slices.Index(field, self); i > 0 {
		field = slices.Insert(slices.Delete(field, i, i+1), 0, self)
	}
	return field
}

// endedBy returns err, or nil if ctx has ended. A server returns it when it
// stops serving.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
