package link_test

import (
	"context"
	"fmt"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
)

// Greet is the contract: declared once, imported by both sides.
var Greet = reqrep.NewMethod[string, string]("greeter", "greet", reqrep.ReadOnly)

func greet(_ context.Context, name string) (string, error) {
	if name == "" {
		return "", link.Errorf(link.InvalidArgument, "greet whom?")
	}
	return "Hello, " + name + "!", nil
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	server, err := link.New(link.Config{Service: "greeter", Tags: []string{"v1"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	reqrep.Handle(server, Greet, greet)
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }() // announces and serves until ctx ends, then drains
	select {
	case <-server.Ready():
	case err := <-ran:
		fmt.Println(err)
		return
	}

	client, err := link.New(link.Config{}) // a node that never runs is a client
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	var who link.Peer
	text, err := reqrep.Call(ctx, client, Greet, "Ada", link.Answered(&who))
	fmt.Println(text, err)
	fmt.Println(who.Service(), who.Tags, who.TLS)

	stop()
	fmt.Println(<-ran)
	// Output:
	// Hello, Ada! <nil>
	// greeter [v1] TLS 1.3
	// <nil>
}
