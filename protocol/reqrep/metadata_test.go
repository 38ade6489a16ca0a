package reqrep_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

func pairs(m link.Metadata) map[string]string {
	return maps.Collect(iter.Seq2[string, string](m.All()))
}

func TestMetadataTravelsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var seen link.Metadata
		serve(mesh, link.Config{}, func(ctx context.Context, q query) (answer, error) {
			seen = link.MetadataOf(ctx)
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			if !link.SetReplyMeta(ctx, "cache", "miss") || !link.SetReplyMeta(child, "cache", "hit") || !link.SetReplyMeta(ctx, "éclair", "ü") {
				t.Error("SetReplyMeta reports that it is not in a handler")
			}
			if q.Text == "fail" {
				return answer{}, link.NotFound
			}
			return answer(q), nil
		})
		client := mesh.Node(link.Config{})
		for _, text := range []string{"", "fail"} {
			var reply link.Metadata
			_, err := reqrep.Call(t.Context(), client, unsafeMethod, query{text},
				link.Meta("tenant", "a"), link.Meta("empty", ""), link.Meta("tenant", "acme"), link.ReplyMeta(&reply))
			if (text == "fail") != errors.Is(err, link.NotFound) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"tenant": "acme", "empty": ""}, pairs(seen)); diff != "" {
				t.Errorf("in the handler (-want +got):\n%s", diff)
			}
			if seen.Get("tenant") != "acme" || seen.Get("absent") != "" || seen.Len() != 2 {
				t.Errorf("Get and Len disagree with All: %v", pairs(seen))
			}
			if diff := cmp.Diff(map[string]string{"cache": "hit", "éclair": "ü"}, pairs(reply)); diff != "" {
				t.Errorf("in the reply (-want +got):\n%s", diff)
			}
		}
	})
	if link.SetReplyMeta(t.Context(), "a", "b") || link.MetadataOf(t.Context()).Len() != 0 {
		t.Error("there is metadata outside of a handler")
	}
}

func manyPairs(n, size int) []link.CallOption {
	opts := make([]link.CallOption, n)
	for i := range opts {
		opts[i] = link.Meta(fmt.Sprintf("key-%03d", i), strings.Repeat("v", size))
	}
	return opts
}

func TestMetadataOfACallIsLimited(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []link.CallOption
		// want is part of the expected error; "" expects none.
		want string
	}{
		{"64 pairs", manyPairs(64, 1), ""},
		{"65 pairs", manyPairs(65, 1), "64"},
		{"8 KiB", manyPairs(8, 1024-7), ""},
		{"more than 8 KiB", manyPairs(8, 1024-6), "8192"},
		{"reserved key", []link.CallOption{link.Meta("link-trace", "x")}, `"link-trace"`},
		{"key that is reserved as a whole", []link.CallOption{link.Meta("link-", "x")}, `"link-"`},
		{"key that only looks reserved", []link.CallOption{link.Meta("link", "x")}, ""},
		{"empty key", []link.CallOption{link.Meta("", "x")}, `""`},
		{"key that is not text", []link.CallOption{link.Meta("a\xff", "x")}, "metadata"},
		{"value that is not text", []link.CallOption{link.Meta("a", "\xff")}, "metadata"},
		{"longest idempotency key", []link.CallOption{link.IdempotencyKey(strings.Repeat("k", 255))}, ""},
		{"idempotency key too long", []link.CallOption{link.IdempotencyKey(strings.Repeat("k", 256))}, "255"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				ran := 0
				serve(mesh, link.Config{}, func(_ context.Context, q query) (answer, error) { ran++; return answer(q), nil })
				_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), unsafeMethod, query{}, tt.opts...)
				switch {
				case tt.want == "" && (err != nil || ran != 1):
					t.Errorf("got %v, the handler ran %d times", err, ran)
				case tt.want != "" && (!errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), tt.want) || ran != 0):
					t.Errorf("got %v, the handler ran %d times, want invalid argument that names %s", err, ran, tt.want)
				}
			})
		})
	}
}

// TestReplyMetadataNeverSpoilsTheReply sets metadata that must not be sent, and expects the reply to arrive.
func TestReplyMetadataNeverSpoilsTheReply(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(ctx context.Context) bool
	}{
		{"too large", func(ctx context.Context) bool { return link.SetReplyMeta(ctx, "big", strings.Repeat("x", 20<<10)) }},
		{"too many", func(ctx context.Context) bool {
			ok := true
			for i := range 65 {
				ok = link.SetReplyMeta(ctx, fmt.Sprint("k", i), "")
			}
			return ok
		}},
		{"reserved", func(ctx context.Context) bool { return link.SetReplyMeta(ctx, "link-x", "") }},
		{"empty key", func(ctx context.Context) bool { return link.SetReplyMeta(ctx, "", "x") }},
		{"no text", func(ctx context.Context) bool { return link.SetReplyMeta(ctx, "k", "\xff") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				set := true
				serve(mesh, link.Config{}, func(ctx context.Context, q query) (answer, error) {
					link.SetReplyMeta(ctx, "good", "yes")
					set = tt.set(ctx)
					return answer(q), nil
				})
				var reply link.Metadata
				got, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), unsafeMethod, query{"x"}, link.ReplyMeta(&reply))
				if err != nil || got.Text != "x" || reply.Get("good") != "yes" {
					t.Errorf("got %+v with %v, %v", got, pairs(reply), err)
				}
				if set {
					t.Error("SetReplyMeta says that the pair will travel")
				}
			})
		})
	}
}

// TestLargestStatusFits fills everything that shares the frame of the status.
func TestLargestStatusFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		serve(mesh, link.Config{}, func(ctx context.Context, _ query) (answer, error) {
			for i := range 64 {
				link.SetReplyMeta(ctx, fmt.Sprintf("key-%03d", i), strings.Repeat("v", 128-7))
			}
			return answer{}, link.WithDetails(link.Errorf(link.Aborted, "%s", strings.Repeat("x", 10<<10)),
				query{strings.Repeat("d", 2900)}, query{"too much"}, query{strings.Repeat("d", 2900)})
		})
		var reply link.Metadata
		_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), unsafeMethod, query{}, link.ReplyMeta(&reply))
		var e *link.Error
		if !errors.As(err, &e) || e.Code != link.Aborted || len(e.Message) != 4<<10 || len(e.Details) == 0 || reply.Len() != 64 {
			t.Errorf("got %.200v with %d pairs", err, reply.Len())
		}
	})
}
