package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A peer is one system that can echo bytes.
type peer interface {
	// name is the word for the peer in results and flags.
	name() string

	// serve listens on a free port of 127.0.0.1 with mutual TLS from m, calls
	// ready once with the address, and echoes until ctx ends. It returns nil
	// when it ended because ctx did.
	serve(ctx context.Context, m material, ready func(addr string)) error

	// dial returns a caller for the server at addr. It may connect lazily: the
	// warm-up comes before anything is measured.
	dial(ctx context.Context, m material, addr string) (caller, error)
}

// A caller makes echo calls on one server.
type caller interface {
	// call sends payload with the two pairs of callMetadata, where the system
	// has metadata, and returns the bytes that came back. ctx always has a
	// deadline. payload is shared by all calls and must not be changed or kept.
	// call is used from many goroutines at once.
	call(ctx context.Context, payload []byte) ([]byte, error)

	close() error
}

// peers is every system, in the order in which runs are interleaved.
func peers() []peer {
	return []peer{
		linkPeer{},
		grpcPeer{},
		quicPeer{},
		rpcxPeer{},
	}
}

// callMetadata is what each call carries besides its payload.
func callMetadata() [2][2]string {
	return [2][2]string{
		{"x-tenant", "acme"},
		{"x-request", "0b6f3a52-9d1c-4c7e-8f57-2f6f4e1a9c30"},
	}
}

// A named thing is a peer or a broadcaster.
type named interface{ name() string }

func namesOf[T named](all []T) []string {
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = one.name()
	}
	return names
}

// find is the one of all that has the name.
func find[T named](all []T, name string) (T, error) {
	for _, one := range all {
		if one.name() == name {
			return one, nil
		}
	}
	var none T
	return none, fmt.Errorf("no peer %q; there are %s", name, strings.Join(namesOf(all), ", "))
}

// checkSelf refuses the name of a peer that has no row at all.
func checkSelf(self string) error {
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(namesOf(peers()), namesOf(broadcasters()), namesOf(dispatchers())))))
	if !slices.Contains(all, self) {
		return fmt.Errorf("no peer %q; there are %s", self, strings.Join(all, ", "))
	}
	return nil
}

// contestants is every peer of the row, self first when it is one of them.
func (r row) contestants(self string) []string {
	field := r.peers()
	if i := slices.Index(field, self); i > 0 {
		field = slices.Insert(slices.Delete(field, i, i+1), 0, self)
	}
	return field
}

// endedBy is the error a server ends with: none when it ended because ctx did.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
