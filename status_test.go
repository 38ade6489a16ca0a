package link_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

func TestStatusShowsWhoWasRefused(t *testing.T) { // SEC-121
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		server := orders(mesh, link.Config{}, keep)
		if got := server.Status().Refused; got != nil {
			t.Errorf("refused at the start: %v", got)
		}
		honest := mesh.Node(link.Config{})
		if _, err := reqrep.Call(t.Context(), honest, putOrder, order{}); err != nil {
			t.Fatal(err)
		}
		stranger := mesh.Node(link.Config{Identity: mesh.CA().Source("client", securitytest.SelfSigned())})
		if _, err := reqrep.Call(t.Context(), stranger, putOrder, order{}); link.CodeOf(err) != link.Unauthenticated {
			t.Errorf("a stranger's call: %v, want Unauthenticated", err)
		}
		// The client may learn of the refusal before the server counts it.
		synctest.Wait()
		got := server.Status().Refused
		if diff := cmp.Diff(map[string]uint64{"untrusted": 1}, got); diff != "" {
			t.Errorf("refused (-want +got):\n%s", diff)
		}
	})
}

// TestTextOfPeersIsEscaped checks that control characters in the text of a peer are escaped in errors.
func TestTextOfPeersIsEscaped(t *testing.T) { // SEC-124
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		orders(mesh, link.Config{}, func(context.Context, order) (order, error) {
			return order{}, &link.Error{
				Code: link.NotFound, Message: "no such order\x1b[2J\nlevel=ERROR msg=forged", ID: "id\x07",
				Details: []link.Detail{{Type: "a\u009bb"}},
			}
		})
		_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), putOrder, order{})
		var e *link.Error
		if !errors.As(err, &e) || link.CodeOf(err) != link.NotFound {
			t.Fatal(err)
		}
		if want := `no such order\x1b[2J\nlevel=ERROR msg=forged`; e.Message != want {
			t.Errorf("message is %q, want %q", e.Message, want)
		}
		for _, text := range []string{err.Error(), e.ID, e.Details[0].Type} {
			if strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("control characters in %q", text)
			}
		}
	})
}

// numbers is a codec with another ID and name.
type numbers struct{ codec.Codec }

func (numbers) ID() uint8    { return 200 }
func (numbers) Name() string { return "numbers" }

// TestCodecsOfAServerAreReadBeforeACall checks that a server that does not read the caller's codec gets no calls. They go
// to a server that does, or, if there is none, fail before anything is sent, with an error that says what is wrong.
func TestCodecsOfAServerAreReadBeforeACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ran := 0
		other := orders(mesh, link.Config{Codec: numbers{codec.CBOR()}}, keep)
		client := mesh.Node(link.Config{})
		_, err := reqrep.Call(t.Context(), client, putOrder, order{})
		if e := (*link.Error)(nil); !errors.As(err, &e) || e.Code != link.Unimplemented || e.Remote || !strings.Contains(e.Message, "Config.Codec") {
			t.Errorf("a call to a node with another codec: %v, want Unimplemented, from this side, and what to check", err)
		}
		orders(mesh, link.Config{}, func(context.Context, order) (order, error) {
			ran++
			return order{}, nil
		})
		// The client must know the new instance first.
		synctest.Wait()
		for range 20 {
			if _, err := reqrep.Call(t.Context(), client, putOrder, order{}); err != nil {
				t.Fatal(err)
			}
		}
		if ran != 20 || other.Status().Refused != nil {
			t.Errorf("%d of 20 calls went to the node that reads them", ran)
		}
	})
}
