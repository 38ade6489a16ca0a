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

func peerNamed(name string) (peer, error) {
	var names []string
	for _, p := range peers() {
		if p.name() == name {
			return p, nil
		}
		names = append(names, p.name())
	}
	return nil, fmt.Errorf("no peer %q; there are %s", name, strings.Join(names, ", "))
}

// contestants is self followed by every other peer.
func contestants(self string) ([]string, error) {
	if _, err := peerNamed(self); err != nil {
		return nil, err
	}
	field := []string{self}
	for _, p := range peers() {
		if !slices.Contains(field, p.name()) {
			field = append(field, p.name())
		}
	}
	return field, nil
}

// endedBy is the error a server ends with: none when it ended because ctx did.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
