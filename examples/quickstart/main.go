// Quickstart demonstrates a small mesh: two versions of a service called orders, a
// gateway that calls them and two mailers. Each is a process with its own link node,
// all on this machine. They find each other without a server, or through Consul if the
// environment names an agent:
//
//	go run ./examples/quickstart
//	CONSUL_HTTP_ADDR=127.0.0.1:8500 go run ./examples/quickstart
//
// It prints what it observes and exits with status 0 only if every step passed.
//
// Read orders.go first (the contract), then orders_service.go, gateway.go, mailer.go and
// shop.go (the services) and topology.yaml (which version gets the gateway's calls).
// The rest starts processes, checks and prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// link logs warnings about the configuration of this machine. One process is enough
	// for that, so the services log only errors.
	level := slog.LevelWarn
	if len(os.Args) > 1 {
		level = slog.LevelError
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run runs the quickstart itself or, with arguments, one of its services.
func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 0:
		return show(ctx)
	case len(args) == 3 && args[0] == "orders":
		return serveOrders(untilAlone(ctx), args[1], args[2])
	case len(args) == 3 && args[0] == "gateway":
		return serveGateway(untilAlone(ctx), args[1], args[2])
	case len(args) == 2 && args[0] == "mailer":
		return serveMailer(untilAlone(ctx), args[1])
	case len(args) == 2 && args[0] == "shop":
		return serveShop(untilAlone(ctx), args[1])
	}
	return errors.New("it takes no arguments; it starts its services itself")
}
