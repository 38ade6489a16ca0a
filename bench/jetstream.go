package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jetStream is a JetStream work queue: a stream that drops acked messages, in memory
// or in files with default settings, asynchronous publishing with acks, and one pull
// consumer with explicit acks that all workers share.
type jetStream struct{}

const (
	jetName    = "TASKS"
	jetSubject = "tasks.bench"
	// jetPending is how many publishes may wait for their acks. It is the default.
	jetPending = 4000
	// jetStall is how long a publish waits for these acks. The default is 200 ms, which a
	// busy machine exceeds; the producers of other systems wait for as long as it takes.
	jetStall = time.Minute
	// jetAcks is how many deliveries may be without an ack, and jetPull how many a
	// worker asks for at once. The defaults are 1000 and 500.
	jetAcks = 10_000
	jetPull = 1000
)

func (jetStream) name() string   { return "jetstream" }
func (jetStream) lossless() bool { return true }
func (jetStream) durable() bool  { return true }

func (jetStream) broker(ctx context.Context, m material, dir string, ready func(string)) error {
	conf, err := m.tls(serverSide)
	if err != nil {
		return err
	}
	storage, store := jetstream.FileStorage, dir
	if dir == "" {
		// Without a folder of ours, the server would leave one of its own behind.
		storage, store = jetstream.MemoryStorage, filepath.Join(m.dir, "jetstream")
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		TLS: true, TLSVerify: true, TLSConfig: conf,
		JetStream: true, StoreDir: store, JetStreamMaxMemory: 4 << 30, JetStreamMaxStore: 16 << 30,
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
	conn, err := connectNATS(m, s.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: jetName, Subjects: []string{jetSubject}, Storage: storage, Retention: jetstream.WorkQueuePolicy,
	})
	if err != nil {
		return err
	}
	if _, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: jetName, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: jetAcks,
	}); err != nil {
		return err
	}
	ready(s.Addr().String())
	<-ctx.Done()
	return nil
}

func (jetStream) worker(ctx context.Context, m material, addr string, done func([]byte)) (worker, error) {
	conn, err := connectNATS(m, addr)
	if err != nil {
		return nil, err
	}
	w := jetWorker{conn: conn}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	consumer, err := js.Consumer(ctx, jetName, jetName)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	if _, err := consumer.Consume(func(msg jetstream.Msg) {
		done(msg.Data())
		// Ack fails only when the connection has ended.
		_ = msg.Ack()
	}, jetstream.PullMaxMessages(jetPull)); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

type jetWorker struct{ conn *nats.Conn }

func (jetWorker) addr() string { return "" }

func (w jetWorker) close() error {
	w.conn.Close()
	return nil
}

func (jetStream) producer(_ context.Context, m material, addrs []string, _ string) (publisher, error) {
	conn, err := connectNATS(m, addrs[0])
	if err != nil {
		return nil, err
	}
	p := &jetProducer{conn: conn}
	p.js, err = jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(jetPending))
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

type jetProducer struct {
	conn *nats.Conn
	js   jetstream.JetStream
}

func (p *jetProducer) addr() string { return "" }

func (p *jetProducer) await(context.Context, int) error { return nil }

func (p *jetProducer) publish(_ context.Context, body []byte) error {
	// PublishAsync keeps the body until the ack, so it gets a copy.
	_, err := p.js.PublishAsync(jetSubject, append([]byte(nil), body...), jetstream.WithStallWait(jetStall))
	return err
}

// flush waits until every published message has been acked.
func (p *jetProducer) flush(ctx context.Context) error {
	select {
	case <-p.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *jetProducer) close() error {
	p.conn.Close()
	return nil
}
