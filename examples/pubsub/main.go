// Pubsub shows that a subscriber receives each message or is told that it missed some, and that
// it chooses which: two subscriptions to one topic fall behind, and one of them loses nothing.
//
//	go run ./examples/pubsub
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub"
)

// Picture is a message. Pictures is the contract, declared once for both sides.
type Picture struct {
	Number int
	Pixels []byte
}

var Pictures = pubsub.NewTopic[Picture]("camera", "pictures")

const pictures = 8000

// publish publishes all pictures, 4 KiB each. It waits for no subscriber, however slow.
func publish(ctx context.Context, camera *pubsub.Publisher[Picture]) {
	for n := range pictures {
		_, err := camera.Publish(ctx, Picture{n + 1, make([]byte, 4096)})
		check(err)
	}
}

// count reads up to the last picture and prints how many came and how many did not.
func count(class string, sub *pubsub.Subscription[Picture]) {
	received, missed := 0, 0
	for m := range sub.Messages() {
		if m.Gap != nil {
			missed += int(m.Gap.Count)
			continue
		}
		if received++; m.Value.Number == pictures {
			break
		}
	}
	sub.Close()
	fmt.Printf("%s: received %d, missed %d, in all %d\n", class, received, missed, received+missed)
}

func main() {
	slog.SetLogLoggerLevel(slog.LevelWarn)
	ctx := context.Background()
	server, err := link.New(link.Config{Service: "camera"})
	check(err)
	camera, err := pubsub.NewPublisher(server, Pictures)
	check(err)
	go func() { check(server.Run(ctx)) }()
	<-server.Ready()

	client, err := link.New(link.Config{})
	check(err)
	// BestEffort, the default, keeps the newest 1,024 messages for a subscription that is behind.
	some, err := pubsub.Subscribe(ctx, client, Pictures, pubsub.BestEffort)
	check(err)
	// Reliable keeps all messages of the last 5 minutes, up to 64 MiB.
	all, err := pubsub.Subscribe(ctx, client, Pictures, pubsub.Reliable)
	check(err)
	// Nobody reads before everything is published.
	publish(ctx, camera)
	count("best effort", some)
	count("reliable", all)
	check(client.Close())
	check(server.Shutdown(ctx))
}

func check(err error) {
	if err != nil {
		log.Fatal("pubsub: ", err)
	}
}
