package link_test

import (
	"context"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
)

func TestCloseWaitsForGoroutinesOfPatterns(t *testing.T) {
	node := linktest.NewMesh(t).Node(link.Config{})
	ended := false
	if !link.HostOf(node).Go(func(ctx context.Context) { <-ctx.Done(); ended = true }) {
		t.Fatal("Go on a node reports false")
	}
	if err := node.Close(); err != nil || !ended {
		t.Errorf("closed: %v; the goroutine has ended: %v", err, ended)
	}
	if link.HostOf(node).Go(func(context.Context) { t.Error("it runs on a closed node") }) {
		t.Error("Go on a closed node reports true")
	}
}
