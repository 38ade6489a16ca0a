package main

import "context"

// A broadcaster is one system that can publish messages to many subscribers.
type broadcaster interface {
	// name is the word for the system in results and flags.
	name() string

	// lossless says that a subscriber gets all that was published after it
	// subscribed. A message it did not get then fails the run; with other
	// systems it is counted.
	lossless() bool

	// publisher starts the publishing side with mutual TLS from m: on a free
	// port of 127.0.0.1, or as a client of the broker at addr.
	publisher(ctx context.Context, m material, addr string) (publisher, error)

	// subscribe opens one subscription over a connection of its own to addr,
	// which is the publisher's or the broker's, and hands its messages to in
	// from one goroutine until it is closed. ctx ends the opening only.
	subscribe(ctx context.Context, m material, addr string, in *inbox) (subscription, error)
}

// A brokered broadcaster needs a process between publisher and subscribers.
type brokered interface {
	// broker listens on a free port of 127.0.0.1 with mutual TLS from m, calls
	// ready once with the address, and serves until ctx ends.
	broker(ctx context.Context, m material, ready func(addr string)) error
}

// A publisher publishes to its subscribers. One goroutine uses it at a time.
type publisher interface {
	// addr is where subscribers subscribe.
	addr() string

	// await waits until n subscriptions will get what is published from now on.
	await(ctx context.Context, n int) error

	// publish sends a copy of body to every subscriber, or holds it back until
	// more is published or flush is called. It waits where the system has
	// back-pressure.
	publish(ctx context.Context, body []byte) error

	// flush sends what publish holds back. It follows each message that has no
	// other right behind it.
	flush(ctx context.Context) error

	close() error
}

// A subscription ends when it is closed.
type subscription interface{ close() error }

// broadcasters is every system that publishes, in the order in which runs are
// interleaved.
func broadcasters() []broadcaster {
	return []broadcaster{
		linkTopics{},
		natsTopics{},
		mangosTopics{},
		quicTopics{},
	}
}
