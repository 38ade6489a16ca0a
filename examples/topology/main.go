// Topology shows how tags and one document decide which instance gets a call: a new version
// gets one user in ten, always the same ones, and all of them when the old version ends.
//
//	go run ./examples/topology
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"strconv"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/topology"
)

// document is for the callers of orders. It is often a file, link.Config.Routing.TopologyFile, which
// is read again when it changes.
const document = `
version: link/v1
services:
  orders:
    subsets:
      stable: { tags: [v1] }
      canary: { tags: [v2] }
    routes:
      - to: { stable: 90, canary: 10 }
        sticky: meta:user
    failover: [subset:stable, subset:canary]
`

// Version returns the tag of the instance that answers.
var Version = reqrep.NewMethod[struct{}, string]("orders", "version", link.ReadOnly)

// start starts an instance of orders with a tag, and returns when it serves.
func start(ctx context.Context, tag string) *link.Node {
	node, err := link.New(link.Config{Service: "orders", Tags: []string{tag}})
	check(err)
	reqrep.Handle(node, Version, func(context.Context, struct{}) (string, error) { return tag, nil })
	go func() { check(node.Run(ctx)) }()
	<-node.Ready()
	return node
}

// count calls for 1,000 users and prints which version they got.
func count(ctx context.Context, caller *link.Node) {
	got := make(map[string]int)
	for user := range 1000 {
		version, err := reqrep.Call(ctx, caller, Version, struct{}{}, link.Meta("user", strconv.Itoa(user)))
		check(err)
		got[version]++
	}
	fmt.Printf("%d users got v1, %d got v2\n", got["v1"], got["v2"])
}

func main() {
	slog.SetLogLoggerLevel(slog.LevelWarn)
	ctx := context.Background()
	rules, err := topology.Parse("document", []byte(document))
	check(err)
	caller, err := link.New(link.Config{Routing: link.Routing{Topology: rules}})
	check(err)
	v1, v2 := start(ctx, "v1"), start(ctx, "v2")
	count(ctx, caller)
	// Shutdown drains, so no call fails. Then the old version is gone.
	check(v1.Shutdown(ctx))
	count(ctx, caller)
	why, err := caller.Explain(ctx, Version.Route(), link.Meta("user", "7"))
	check(err)
	fmt.Print(why)
	check(v2.Shutdown(ctx))
	check(caller.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal("topology: ", err)
	}
}
