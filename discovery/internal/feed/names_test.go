package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

var placed = discovery.TagQuery{Tag: "topic:placed"}.Normalized()

func openFind(ctx context.Context, t *testing.T, n *Names) <-chan []string {
	t.Helper()
	ch, err := n.Find(ctx, placed)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func TestOnlyNewNamesAreDelivered(t *testing.T) {
	n := NewNames()
	defer n.Close()
	// Nothing watches this query yet.
	n.Publish(placed, []string{"early"})
	ch := openFind(t.Context(), t, n)
	if _, waiting := n.Queries(); !waiting || len(ch) != 0 {
		t.Error("a new query does not wait for its list")
	}
	n.Unread()
	if list := <-ch; len(list) != 0 {
		t.Errorf("the list of a registry that cannot be read: %q", list)
	}
	n.Publish(placed, nil)
	n.Unread()
	if len(ch) != 0 {
		t.Error("the same list was delivered again")
	}
	n.Publish(placed, []string{"a"})
	n.Publish(placed, []string{"a", "b"})
	n.Publish(placed, []string{"a", "b"})
	n.Unread()
	if list := <-ch; !slices.Equal(list, []string{"a", "b"}) || len(ch) != 0 {
		t.Errorf("not the newest alone: %q and %d more", list, len(ch))
	}
	if list := <-openFind(t.Context(), t, n); len(list) != 2 {
		t.Errorf("a late watch begins with %q", list)
	}
}

func TestAFloodOfNamesPushesNobodyOut(t *testing.T) {
	n := NewNames()
	defer n.Close()
	ch := openFind(t.Context(), t, n)
	n.Publish(placed, []string{"shop", "zoo"})
	<-ch
	flood := []string{"shop", "zoo"}
	for i := range bounds.MaxServices {
		flood = append(flood, fmt.Sprintf("a%05d", i))
	}
	slices.Sort(flood)
	if left := n.Publish(placed, flood); left != 2 {
		t.Errorf("%d names are said to be left out, want 2", left)
	}
	list := <-ch
	if len(list) != bounds.MaxServices || !slices.IsSorted(list) || !slices.Contains(list, "shop") || !slices.Contains(list, "zoo") {
		t.Errorf("%d names, want %d with those that were there before", len(list), bounds.MaxServices)
	}
	if left := n.Publish(placed, flood); left != 0 || len(ch) != 0 {
		t.Errorf("said again: %d left out, %d lists", left, len(ch))
	}
	n.Publish(placed, []string{"shop"})
	if left := n.Publish(placed, flood); left != 2 {
		t.Errorf("%d names are said to be left out when it happens again, want 2", left)
	}
}

func TestNamesEndWithTheirContextOrAltogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNames()
		ctx, cancel := context.WithCancel(t.Context())
		ended, stays := openFind(ctx, t, n), openFind(t.Context(), t, n)
		cancel()
		synctest.Wait()
		if _, open := <-ended; open {
			t.Error("open after the end of its context")
		}
		n.Publish(placed, []string{"a"})
		if list := <-stays; len(list) != 1 {
			t.Errorf("the other sees %q", list)
		}
		n.Close()
		if _, open := <-stays; open {
			t.Error("open after Close")
		}
		if _, err := n.Find(t.Context(), placed); !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("Find after Close: %v", err)
		}
	})
}
