package link

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
)

// newNode returns a node that the test closes.
func newNode(t *testing.T, cfg Config) *Node {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// listed returns a registry with one instance of orders per address, named orders-0, orders-1 and so on.
func listed(t *testing.T, addrs ...string) *static.Registry {
	t.Helper()
	var all []discovery.Instance
	for i, addr := range addrs {
		all = append(all, discovery.Instance{ID: fmt.Sprint("orders-", i), Service: "orders", Addr: addr})
	}
	registry, err := static.New(all...)
	if err != nil {
		t.Fatal(err)
	}
	return registry
}
