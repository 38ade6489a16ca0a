package link_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

func TestOKIsTheCodeOfNoError(t *testing.T) {
	if link.OK.String() != "ok" || link.CodeOf(nil) != link.OK || fmt.Sprint(link.CodeOf(nil)) != "ok" {
		t.Errorf("OK is %q, CodeOf(nil) %v", link.OK, link.CodeOf(nil))
	}
	for _, err := range []error{link.OK, link.Errorf(link.OK, "fine"), &link.Error{}, fmt.Errorf("wrapped: %w", link.OK)} {
		if link.CodeOf(err) != link.Unknown || errors.Is(err, link.Errorf(link.OK, "")) {
			t.Errorf("the code of %#v is %v, want unknown: it is an error", err, link.CodeOf(err))
		}
	}
	if err := (&link.Error{Message: "m"}); err.Error() != "unknown: m" || errors.Is(err, link.OK) || !errors.Is(err, link.Unknown) {
		t.Errorf("an error without a code is %q, and OK: %v", err, errors.Is(err, link.OK))
	}
}

func TestCodeOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want link.Code
	}{
		{errors.New("text"), link.Unknown},
		{link.NotFound, link.NotFound},
		{fmt.Errorf("wrapped: %w", link.NotFound), link.NotFound},
		{context.Canceled, link.Canceled},
		{context.DeadlineExceeded, link.DeadlineExceeded},
		{&codec.Error{Err: &codec.LimitError{}}, link.ResourceExhausted},
		{&link.PanicError{}, link.Internal},
		{link.Errorf(link.NotFound, "%w", &link.PanicError{}), link.NotFound},
	} {
		if got := link.CodeOf(tt.err); got != tt.want {
			t.Errorf("CodeOf(%v) is %v, want %v", tt.err, got, tt.want)
		}
	}
}

// TestOKThatAHandlerReturnsIsAnError checks that the caller gets Unknown if the handler returns OK as its error.
func TestOKThatAHandlerReturnsIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := mesh.Node(link.Config{Service: "orders"})
		reqrep.Handle(srv, bulkMethod, func(context.Context, string) (string, error) { return "", link.OK })
		mesh.Start(srv)
		if _, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), bulkMethod, ""); !errors.Is(err, link.Unknown) {
			t.Errorf("got %v, want unknown", err)
		}
	})
}
