// Command set is two servers and a client in one process whose clock is set while they
// talk. It ends with an error if that moved anything.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/reqrep"
)

// most is when what should happen counts as not happening.
const most = 2 * time.Minute

type nothing struct{}

var read = reqrep.NewMethod[nothing, nothing]("orders", "get", reqrep.ReadOnly)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func run() error {
	beginSetting()
	before := time.Now()
	setClock(time.Hour)
	if now := time.Now(); now.Round(0).Sub(before.Round(0)) < time.Hour || now.Sub(before) > most {
		return fmt.Errorf("the clock is not set: it was %v, it is %v", before, now)
	}
	setClock(0)

	registry, err := static.New()
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), most)
	ended := make(chan error, 2)
	var sick atomic.Bool
	for i := range 2 {
		node, err := start(ctx, registry, i == 0, &sick, ended)
		if err != nil {
			stop()
			return err
		}
		defer node.Close()
	}
	client, err := link.New(link.Config{Registry: registry, Logger: quiet()})
	if err != nil {
		stop()
		return err
	}
	err = errors.Join(check(ctx, client, &sick), client.Close())
	stop()
	return errors.Join(err, <-ended, <-ended, registry.Close())
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// start starts a server. Its handler panics while sick is set, if it may be.
func start(ctx context.Context, registry *static.Registry, maybe bool, sick *atomic.Bool, ended chan<- error) (*link.Node, error) {
	node, err := link.New(link.Config{Service: "orders", Addr: "127.0.0.1:0", Registry: registry, Logger: quiet()})
	if err != nil {
		return nil, err
	}
	reqrep.Handle(node, read, func(context.Context, nothing) (nothing, error) {
		if maybe && sick.Load() {
			panic("sick")
		}
		return nothing{}, nil
	})
	go func() { ended <- node.Run(ctx) }()
	select {
	case <-node.Ready():
		return node, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// check sets the clock while an instance is ejected, which is a state that ends.
func check(ctx context.Context, client *link.Node, sick *atomic.Bool) error {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		setClock(0)
		sick.Store(true)
		if err := callUntil(ctx, client, func() bool { return ejected(client) }); err != nil {
			return fmt.Errorf("no instance is ejected: %w", err)
		}
		setClock(by)
		if !ejected(client) {
			return fmt.Errorf("the clock was set by %v, and that ended the ejection of an instance", by)
		}
		sick.Store(false)
		if err := callUntil(ctx, client, func() bool { return !ejected(client) }); err != nil {
			return fmt.Errorf("the clock was set by %v, and the ejection of an instance that is well does not end: %w", by, err)
		}
		if n := client.Status().Services[0].Connected; n != 2 {
			return fmt.Errorf("the clock was set by %v, and of 2 connections there are %d", by, n)
		}
	}
	return nil
}

func ejected(client *link.Node) bool {
	s := client.Status()
	return len(s.Services) > 0 && s.Services[0].Ejected > 0
}

// callUntil calls until done says so.
func callUntil(ctx context.Context, client *link.Node, done func() bool) error {
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for !done() {
		if _, err := reqrep.Call(ctx, client, read, nothing{}); err != nil && ctx.Err() != nil {
			return err
		}
		<-pause.C
	}
	return nil
}
