package link_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/codecvalues"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/protocol/reqrep"
)

// roomy is large in memory and small on the wire, which many values of a message must not be.
type roomy struct {
	ID   int     `cbor:"i,omitempty"`
	Rest [63]int `cbor:"r,omitzero"`
}

func TestLimitsOfTheCodecAreCheckedBeforeSending(t *testing.T) {
	method := reqrep.NewMethod[[]roomy, []roomy]("orders", "roomy", link.Unsafe)
	deep := reqrep.NewMethod[[][][][][]int, int]("orders", "deep", link.Unsafe)
	many := make([]roomy, 100_000)
	nested := [][][][][]int{{{{{}}}}}
	narrow := link.Limits{MaxNesting: 4}
	for _, tt := range []struct {
		name           string
		server, client link.Limits
		call           func(ctx context.Context, client *link.Node) error
		remote, ran    bool
		want           string
	}{
		{"request", link.Limits{}, link.Limits{}, func(ctx context.Context, client *link.Node) error {
			_, err := reqrep.Call(ctx, client, method, many)
			return err
		}, false, false, "encoding the request: codec cbor: encode *[]link_test.roomy: takes 546 bytes of memory for each of its own when it is decoded, Limits.MaxExpansion is 60"},
		{"response", link.Limits{}, link.Limits{}, func(ctx context.Context, client *link.Node) error {
			_, err := reqrep.Call(ctx, client, method, nil)
			return err
		}, true, true, "encoding the response: codec cbor: encode *[]link_test.roomy: takes 546 bytes of memory for each of its own when it is decoded, Limits.MaxExpansion is 60"},
		{"levels of a request, sender", link.Limits{}, narrow, func(ctx context.Context, client *link.Node) error {
			_, err := reqrep.Call(ctx, client, deep, nested)
			return err
		}, false, false, "nests 5 levels, Limits.MaxNesting is 4"},
		{"levels of a request, receiver", narrow, link.Limits{}, func(ctx context.Context, client *link.Node) error {
			_, err := reqrep.Call(ctx, client, deep, nested)
			return err
		}, true, false, "nests 5 levels, Limits.MaxNesting is 4"},
		{"response, receiver", link.Limits{MaxExpansion: 600}, link.Limits{}, func(ctx context.Context, client *link.Node) error {
			_, err := reqrep.Call(ctx, client, method, nil)
			return err
		}, false, true, "decoding the reply into *[]link_test.roomy: codec cbor: decode *[]link_test.roomy: takes 546 bytes of memory for each of its own when it is decoded, Limits.MaxExpansion is 60"},
		{"both sides allow more", link.Limits{MaxExpansion: 600}, link.Limits{MaxExpansion: 600}, func(ctx context.Context, client *link.Node) error {
			_, err := reqrep.Call(ctx, client, method, many)
			return err
		}, false, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				ran := false
				srv := mesh.Node(link.Config{Service: "orders", Limits: tt.server})
				reqrep.Handle(srv, method, func(context.Context, []roomy) ([]roomy, error) { ran = true; return many, nil })
				reqrep.Handle(srv, deep, func(context.Context, [][][][][]int) (int, error) { ran = true; return 0, nil })
				mesh.Start(srv)
				err := tt.call(t.Context(), mesh.Node(link.Config{Limits: tt.client}))
				if ran != tt.ran {
					t.Errorf("the handler ran: %v, want %v", ran, tt.ran)
				}
				if tt.want == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				var e *link.Error
				if !errors.As(err, &e) || e.Code != link.ResourceExhausted || e.Remote != tt.remote || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want resource exhausted, remote %v, with %q", err, tt.remote, tt.want)
				}
			})
		})
	}
}

func TestLimitsOfTheCodecAreInConfig(t *testing.T) {
	for _, tt := range []struct {
		cfg  link.Config
		want string
	}{
		{link.Config{Limits: link.Limits{MaxNesting: 3}}, "Limits.MaxNesting is 3"},
		{link.Config{Limits: link.Limits{MaxNesting: 70_000}}, "Limits.MaxNesting is 70000"},
		{link.Config{Limits: link.Limits{MaxExpansion: -1}}, "Config.Limits.MaxExpansion is -1"},
		{link.Config{Limits: link.Limits{MaxExpansion: 100}, Codec: codec.CBOR()}, "Config.Codec"},
		{link.Config{Limits: link.Limits{MaxNesting: 100}, Codec: codec.CBOR()}, "Config.Codec"},
	} {
		if _, err := link.New(tt.cfg); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want invalid argument with %q", tt.cfg.Limits, err, tt.want)
		}
	}
}

// TestAValueThatHoldsItselfIsAnErrorInEveryPattern sends a cyclic value, whose encoding would end the process, and
// expects an error.
func TestAValueThatHoldsItselfIsAnErrorInEveryPattern(t *testing.T) {
	type person = codecvalues.Person
	get := reqrep.NewMethod[*person, *person]("orders", "person", link.Unsafe)
	born := pubsub.NewTopic[*person]("orders", "born")
	greet := pipeline.NewStage[*person, *person]("orders", "greet")
	endless := &person{Name: "parent"}
	endless.Children = []*person{{Name: "child", Parent: endless}}
	for _, tt := range []struct {
		name string
		code link.Code
		do   func(ctx context.Context, client *link.Node, p *pubsub.Publisher[*person], q *pipeline.Producer[*person, *person]) error
	}{
		{"request", link.InvalidArgument, func(ctx context.Context, client *link.Node, _ *pubsub.Publisher[*person], _ *pipeline.Producer[*person, *person]) error {
			_, err := reqrep.Call(ctx, client, get, endless)
			return err
		}},
		{"response", link.Internal, func(ctx context.Context, client *link.Node, _ *pubsub.Publisher[*person], _ *pipeline.Producer[*person, *person]) error {
			_, err := reqrep.Call(ctx, client, get, nil)
			return err
		}},
		{"message", link.InvalidArgument, func(ctx context.Context, _ *link.Node, p *pubsub.Publisher[*person], _ *pipeline.Producer[*person, *person]) error {
			_, err := p.Publish(ctx, endless)
			return err
		}},
		{"task", link.InvalidArgument, func(ctx context.Context, _ *link.Node, _ *pubsub.Publisher[*person], q *pipeline.Producer[*person, *person]) error {
			_, err := q.Push(ctx, endless)
			return err
		}},
		{"result", link.Unknown, func(ctx context.Context, _ *link.Node, _ *pubsub.Publisher[*person], q *pipeline.Producer[*person, *person]) error {
			_, err := q.Push(ctx, nil)
			return err
		}},
		{"detail of an error", link.NotFound, func(context.Context, *link.Node, *pubsub.Publisher[*person], *pipeline.Producer[*person, *person]) error {
			return link.WithDetails(link.NotFound, endless)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				srv := mesh.Node(link.Config{Service: "orders"})
				reqrep.Handle(srv, get, func(context.Context, *person) (*person, error) { return endless, nil })
				pipeline.Pull(srv, greet, func(context.Context, *person) (*person, error) { return endless, nil })
				p, err := pubsub.NewPublisher(srv, born)
				if err != nil {
					t.Fatal(err)
				}
				mesh.Start(srv)
				client := mesh.Node(link.Config{})
				q, err := pipeline.NewProducer(client, greet)
				if err != nil {
					t.Fatal(err)
				}
				err = tt.do(t.Context(), client, p, q)
				if err == nil || tt.code != link.Unknown && !errors.Is(err, tt.code) || !strings.Contains(err.Error(), "the value holds itself") {
					t.Errorf("got %v, want %v, and that the value holds itself", err, tt.code)
				}
			})
		})
	}
}
