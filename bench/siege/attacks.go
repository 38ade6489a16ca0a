package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/protocol/pubsub"
)

// attack is one way to harm a node.
type attack struct {
	name string
	// stranger gives the attacker another cluster secret.
	stranger bool
	run      func(ctx context.Context, m *mallory) error
}

func attacks() []attack {
	return []attack{
		{name: "strangers", stranger: true, run: strangers},
		{name: "routes", run: floodRoutes},
		{name: "slow-bodies", run: slowBodies},
		{name: "unread-replies", run: unreadReplies},
		{name: "idle-streams", run: idleStreams},
		{name: "uncredited-frames", run: uncreditedFrames},
		{name: "subscribe-loop", run: subscribeLoop},
	}
}

// wide is a receive window that does not hold the node back, in bytes.
const wide = 16 << 20

// again runs f until the attack ends. It pauses after each failure, so that an
// attacker that is refused does not spin.
func again(ctx context.Context, f func() error) {
	for ctx.Err() == nil {
		if err := f(); err != nil {
			_ = backoff.Sleep(ctx, 50*time.Millisecond)
		}
	}
}

// together runs n copies of f concurrently until the attack ends.
func together(ctx context.Context, n int, f func(i int) error) error {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { again(ctx, func() error { return f(i) }) })
	}
	wg.Wait()
	return nil
}

// strangersPerSecond is ten times the rate that silenced a node that searched
// for a path through the chain.
const strangersPerSecond = 100

// strangers dials with certificate chains in which a search for a path is slow.
func strangers(ctx context.Context, m *mallory) error {
	conf, err := hostileChain()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / strangersPerSecond)
	defer tick.Stop()
	// room bounds the connections in flight.
	room := make(chan struct{}, strangersPerSecond)
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		select {
		case room <- struct{}{}:
		default:
			continue
		}
		wg.Go(func() {
			defer func() { <-room }()
			dial, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			if conn, err := m.tr.Dial(dial, m.target, conf, quicConfig(wide)); err == nil {
				// The connection ends when the node refuses it.
				select {
				case <-conn.Context().Done():
				case <-dial.Done():
				}
				_ = conn.CloseWithError(0, "")
			}
		})
	}
	wg.Wait()
	return nil
}

// floodRoutes sends route tables, none of which a server needs.
func floodRoutes(ctx context.Context, m *mallory) error {
	var tables []byte
	for i := uint64(1); i <= 500; i++ {
		tables = wire.AppendRoutes(tables, &wire.Routes{First: i, Routes: []wire.RouteInfo{{Name: fmt.Sprint("r", i)}}})
	}
	return together(ctx, 100, func(i int) error {
		c, err := m.dial(ctx, fmt.Sprint("mallory-", i%10), wide)
		if err != nil {
			return err
		}
		defer func() { _ = c.CloseWithError(0, "") }()
		for ctx.Err() == nil {
			if _, err := c.control.Write(tables); err != nil {
				return err
			}
		}
		return nil
	})
}

// slowBodies announces bodies of 4 MiB and sends them as slowly as the node
// allows: 20 KiB per second.
func slowBodies(ctx context.Context, m *mallory) error {
	body := append(headers(echo.Route().Name, 0), begin(wire.KindData, 4<<20-16)...)
	return together(ctx, 8, func(i int) error {
		return m.eachStream(ctx, fmt.Sprint("mallory-", i), wide, 64, wire.StreamCall, body, func(s *quic.Stream) error {
			chunk := make([]byte, 2<<10)
			for ctx.Err() == nil {
				if _, err := s.Write(chunk); err != nil {
					return err
				}
				_ = backoff.Sleep(ctx, 100*time.Millisecond)
			}
			return nil
		})
	})
}

// eachStream keeps n streams of one connection busy until the attack or the connection ends.
func (m *mallory) eachStream(ctx context.Context, name string, window uint64, n int, typ wire.StreamType, first []byte, then func(*quic.Stream) error) error {
	c, err := m.dial(ctx, name, window)
	if err != nil {
		return err
	}
	defer func() { _ = c.CloseWithError(0, "") }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.Context().Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return together(ctx, n, func(int) error {
		s, err := c.stream(ctx, typ, first)
		if err != nil {
			return err
		}
		defer s.CancelRead(0)
		defer s.CancelWrite(0)
		return then(s)
	})
}

// untilEnded waits until the node ends the stream, and returns an error.
func untilEnded(s *quic.Stream) error {
	<-s.Context().Done()
	return errors.New("the node ended the stream")
}

// unreadReplies asks for long replies and does not read them.
func unreadReplies(ctx context.Context, m *mallory) error {
	request := append(headers("large", 0), begin(wire.KindData, 1)...)
	// The body is an empty CBOR map.
	request = append(request, 0xa0)
	return together(ctx, 8, func(i int) error {
		return m.eachStream(ctx, fmt.Sprint("mallory-", i), 1024, 64, wire.StreamCall, request, untilEnded)
	})
}

// idleStreams opens as many call streams as the node allows and makes no calls.
func idleStreams(ctx context.Context, m *mallory) error {
	return together(ctx, 100, func(i int) error {
		return m.eachStream(ctx, fmt.Sprint("mallory-", i%10), wide, 1000, wire.StreamCalls, nil, untilEnded)
	})
}

// uncreditedFrames sends long frames without having been granted credit.
func uncreditedFrames(ctx context.Context, m *mallory) error {
	first := headers(frames.Name, uint64(link.KindChannel))
	const length = 4<<20 - 16
	chunk := make([]byte, 64<<10)
	return together(ctx, 8, func(i int) error {
		return m.eachStream(ctx, fmt.Sprint("mallory-", i), wide, 32, wire.StreamCall, first, func(s *quic.Stream) error {
			b := wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindPattern, Flags: wire.FlagCredited, Length: length})
			if _, err := s.Write(b); err != nil {
				return err
			}
			for sent := 0; sent < length; sent += len(chunk) {
				if _, err := s.Write(chunk[:min(len(chunk), length-sent)]); err != nil {
					return err
				}
			}
			return untilEnded(s)
		})
	})
}

// subscribeLoop subscribes and unsubscribes without a pause, as an ordinary node.
func subscribeLoop(ctx context.Context, m *mallory) error {
	registry, err := static.New(discovery.Instance{ID: "orders-1", Service: service, Addr: m.addr})
	if err != nil {
		return err
	}
	node, err := link.New(link.Config{Service: "mallory", Addr: attackerAddr, Registry: registry, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { _ = node.Close() }()
	return together(ctx, 32, func(int) error {
		s, err := pubsub.Subscribe(ctx, node, ticks, pubsub.AtLeastOnce)
		if err != nil {
			return err
		}
		s.Close()
		return nil
	})
}
