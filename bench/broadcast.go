package main

import "context"

// A broadcaster is one system that can publish messages to many subscribers.
type broadcaster interface {
	// name returns the system's name in results and flags.
	name() string

	// lossless reports whether the system promises a subscriber every message
	// published after it subscribed. A missing message then fails the run;
	// with other systems it is counted.
	lossless() bool

	// publisher starts the publishing side with mutual TLS from m: on a free
	// port of 127.0.0.1, or as a client of the broker at addr.
	publisher(ctx context.Context, m material, addr string) (publisher, error)

	// subscribe opens one subscription over its own connection to addr, which
	// is the publisher's or the broker's address. One goroutine delivers its
	// messages to in until it is closed. ctx bounds only the opening.
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
	// addr returns the address that subscribers connect to.
	addr() string

	// await waits until n subscriptions will get what is published from now on.
	await(ctx context.Context, n int) error

	// publish sends a copy of body to every subscriber, or buffers it until
	// more is published or flush is called. It blocks if the system has
	// back-pressure.
	publish(ctx context.Context, body []byte) error

	// flush sends what publish has buffered. It is called after each message
	// that is not followed by another at once.
	flush(ctx context.Context) error

	close() error
}

// A subscription delivers messages until it is closed.
type subscription interface{ close() error }

// broadcasters returns every publish/subscribe system, in the order in which
// their runs are interleaved.
func broadcasters() []broadcaster {
	return []broadcaster{
		linkTopics{},
		natsTopics{},
		mangosTopics{},
		quicTopics{},
	}
}
