package link_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/security"
)

type orderQuery struct{ ID string }

type order struct {
	ID    string
	Cents int64
}

var getOrder = reqrep.NewMethod[orderQuery, order]("orders", "get", link.ReadOnly)

// TestCallOverLoopback makes calls between two nodes of one process over real
// UDP sockets.
func TestCallOverLoopback(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	registry, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	server, err := link.New(link.Config{Service: "orders", Tags: []string{"v2"}, Addr: "127.0.0.1:0", Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	reqrep.Handle(server, getOrder, func(_ context.Context, q orderQuery) (order, error) {
		if q.ID == "" {
			return order{}, link.Errorf(link.InvalidArgument, "no order ID")
		}
		return order{ID: q.ID, Cents: 4200}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()
	select {
	case <-server.Ready():
	case err := <-served:
		t.Fatal(err)
	}

	client, err := link.New(link.Config{Registry: registry, Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	var who link.Peer
	got, err := reqrep.Call(t.Context(), client, getOrder, orderQuery{ID: "o-1"}, link.AnsweredBy(&who))
	if err != nil {
		t.Fatal(err)
	}
	if want := (order{ID: "o-1", Cents: 4200}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	t.Logf("%+v", who)
	if _, err := reqrep.Call(t.Context(), client, getOrder, orderQuery{}); !errors.Is(err, link.InvalidArgument) {
		t.Errorf("call without an ID: %v, want invalid argument", err)
	} else {
		t.Log(err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Run: %v", err)
	}
	_, err = reqrep.Call(t.Context(), client, getOrder, orderQuery{ID: "o-1"})
	t.Log(err)
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

// TestManyNodesOnOneServer connects 500 nodes of one service to one server on
// real sockets, as after a deploy.
func TestManyNodesOnOneServer(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	registry, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	server, err := link.New(link.Config{
		Service: "orders", Addr: "127.0.0.1:0", Registry: registry, Logger: quiet,
		Limits: link.Limits{Handshakes: link.HandshakeLimits{SetupTimeout: 10 * time.Minute}},
	})
	if err != nil {
		t.Fatal(err)
	}
	reqrep.Handle(server, getOrder, func(_ context.Context, q orderQuery) (order, error) { return order{ID: q.ID}, nil })
	served := make(chan error, 1)
	go func() { served <- server.Run(context.Background()) }()
	<-server.Ready()

	// Handshakes are slow under the race detector and on a busy machine, so timeouts
	// are long and the nodes dial a few at a time. They all stay connected.
	patient := link.Config{
		Service: "gateway", Addr: "127.0.0.1:0", Registry: registry, Logger: quiet,
		Limits: link.Limits{CallTimeout: 10 * time.Minute, DialTimeout: 10 * time.Minute},
	}
	const dialing = 16
	n := 500
	// The race detector makes cryptography slow.
	if race.Enabled {
		n = 100
	}
	clients := make([]*link.Node, n)
	room := make(chan struct{}, dialing)
	var wg sync.WaitGroup
	for i := range clients {
		if clients[i], err = link.New(patient); err != nil {
			t.Fatal(err)
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			want := order{ID: strconv.Itoa(i)}
			if got, err := reqrep.Call(t.Context(), clients[i], getOrder, orderQuery{ID: want.ID}); err != nil || got != want {
				t.Errorf("node %d: %+v, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	for _, client := range clients {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
