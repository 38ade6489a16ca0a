package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// natsTopics is NATS core as shipped: a server in its own process, and mutual
// TLS on every connection.
type natsTopics struct{}

const natsSubject = "bench.topic"

func (natsTopics) name() string   { return "nats" }
func (natsTopics) lossless() bool { return false }

func (natsTopics) broker(ctx context.Context, m material, ready func(string)) error {
	conf, err := m.tls(serverSide)
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		Host:      "127.0.0.1",
		Port:      server.RANDOM_PORT,
		NoLog:     true,
		NoSigs:    true,
		TLS:       true,
		TLSVerify: true,
		TLSConfig: conf,
	})
	if err != nil {
		return err
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(callTimeout) {
		return errors.New("the NATS server does not get ready")
	}
	ready(s.Addr().String())
	<-ctx.Done()
	return nil
}

// connectNATS connects one client. Slow-consumer errors are ignored because lost
// messages are counted.
func connectNATS(m material, addr string) (*nats.Conn, error) {
	conf, err := m.tls(clientSide)
	if err != nil {
		return nil, err
	}
	return nats.Connect("nats://"+addr, nats.Secure(conf), nats.ReconnectWait(10*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

func (natsTopics) publisher(_ context.Context, m material, addr string) (publisher, error) {
	conn, err := connectNATS(m, addr)
	if err != nil {
		return nil, err
	}
	return &natsPublisher{conn: conn, broker: addr}, nil
}

type natsPublisher struct {
	conn   *nats.Conn
	broker string
}

func (p *natsPublisher) addr() string { return p.broker }

// await has nothing to wait for: the server has confirmed the subscriptions.
func (p *natsPublisher) await(context.Context, int) error { return nil }

func (p *natsPublisher) publish(_ context.Context, body []byte) error {
	return p.conn.Publish(natsSubject, body)
}

func (p *natsPublisher) flush(ctx context.Context) error { return p.conn.FlushWithContext(ctx) }

func (p *natsPublisher) close() error {
	p.conn.Close()
	return nil
}

func (natsTopics) subscribe(ctx context.Context, m material, addr string, in *inbox) (subscription, error) {
	conn, err := connectNATS(m, addr)
	if err != nil {
		return nil, err
	}
	sub, err := conn.Subscribe(natsSubject, func(msg *nats.Msg) { in.deliver(msg.Data) })
	if err != nil {
		conn.Close()
		return nil, err
	}
	// Without limits, the client does not drop messages on its side.
	if err := errors.Join(sub.SetPendingLimits(-1, -1), conn.FlushWithContext(ctx)); err != nil {
		conn.Close()
		return nil, err
	}
	return natsSubscription{conn}, nil
}

type natsSubscription struct{ conn *nats.Conn }

func (s natsSubscription) close() error {
	s.conn.Close()
	return nil
}
