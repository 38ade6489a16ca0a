// Hello shows one typed method: a server, and a client that calls it by the name of its service.
//
//	go run ./examples/hello
//
// Nothing is configured. The client finds the server in the registry of this machine, and
// each proves to the other who it is. Here both run in one process; in a real system they
// are two programs that import the declaration of Greet.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
)

// Greet is the contract, declared once for both sides.
var Greet = reqrep.NewMethod[string, string]("greeter", "greet", link.ReadOnly)

// serve runs a server until ctx ends, and then finishes what was begun.
func serve(ctx context.Context) error {
	node, err := link.New(link.Config{Service: "greeter"})
	if err != nil {
		return err
	}
	reqrep.Handle(node, Greet, func(_ context.Context, name string) (string, error) {
		if name == "" {
			return "", link.Errorf(link.InvalidArgument, "greet whom?")
		}
		return "Hello, " + name + "!", nil
	})
	return node.Run(ctx)
}

// call calls the server from a node that never runs, which makes it a client.
func call(ctx context.Context) error {
	node, err := link.New(link.Config{})
	if err != nil {
		return err
	}
	defer node.Close()
	var server link.Peer
	// The server may still be starting, so the first call waits for it.
	greeting, err := reqrep.Call(ctx, node, Greet, "Ada", link.WaitForReady(), link.AnsweredBy(&server))
	if err != nil {
		return err
	}
	fmt.Println(greeting)
	fmt.Println("from", server.Identity, "over", server.TLS)

	// An error crosses the wire with its code and its text.
	_, err = reqrep.Call(ctx, node, Greet, "")
	fmt.Println(err)
	fmt.Println("an invalid argument:", errors.Is(err, link.InvalidArgument))
	return nil
}

func main() {
	slog.SetLogLoggerLevel(slog.LevelWarn)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx) }()
	err := call(ctx)
	stop()
	if err := errors.Join(err, <-served); err != nil {
		log.Fatal("hello: ", err)
	}
}
