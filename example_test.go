package link_test

import (
	"context"
	"fmt"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
)

// Greet is the contract: declared once, imported by both sides.
var Greet = reqrep.NewMethod[string, string]("greeter", "greet", link.ReadOnly)

func greet(_ context.Context, name string) (string, error) {
	if name == "" {
		return "", link.Errorf(link.InvalidArgument, "greet whom?")
	}
	return "Hello, " + name + "!", nil
}

func serve(ctx context.Context) error {
	node, err := link.New(link.Config{Service: "greeter"})
	if err == nil {
		reqrep.Handle(node, Greet, greet)
		err = node.Run(ctx) // announces and serves until ctx ends, then drains
	}
	return err
}

func call(ctx context.Context, client *link.Node) {
	text, err := reqrep.Call(ctx, client, Greet, "Ada", link.WaitForReady())
	fmt.Println(text, err) // Hello, Ada! <nil>
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- serve(ctx) }()

	client, err := link.New(link.Config{}) // a node that never runs is a client
	if err != nil {
		fmt.Println(err)
		return
	}
	call(ctx, client)
	_, err = reqrep.Call(ctx, client, Greet, "")
	fmt.Println(link.CodeOf(err), client.Close())

	stop()
	fmt.Println(<-served)
	// Output:
	// Hello, Ada! <nil>
	// invalid argument <nil>
	// <nil>
}
