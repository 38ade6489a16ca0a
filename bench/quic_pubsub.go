package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// quicTopics is the upper limit: raw quic-go, one connection and one stream per
// subscriber, length-prefixed messages gathered once into batches that every
// stream writes as they are. The slowest subscriber holds the publisher back.
type quicTopics struct{}

const (
	// quicBatchSize is the size in bytes from which a batch is written.
	quicBatchSize = 64 << 10
	// quicBatches bounds the batches in flight to the slowest subscriber.
	quicBatches = 64
	// quicJoining bounds the connections that wait for await.
	quicJoining = 64
	// quicLengthEnd is the size of the length before a message, in bytes.
	quicLengthEnd = 4
	quicReadSize  = 2 * quicBatchSize
)

func (quicTopics) name() string   { return "quic" }
func (quicTopics) lossless() bool { return true }

func (quicTopics) publisher(_ context.Context, m material, _ string) (publisher, error) {
	conf, err := m.tls(serverSide, quicALPN)
	if err != nil {
		return nil, err
	}
	l, err := quic.ListenAddr("127.0.0.1:0", conf, quicConfig())
	if err != nil {
		return nil, err
	}
	p := &quicPublisher{
		listener: l,
		joining:  make(chan *quic.Conn, quicJoining),
		free:     make(chan *quicBatch, quicBatches),
		failed:   make(chan error, 1),
	}
	for range quicBatches {
		p.free <- new(quicBatch)
	}
	p.work.Go(p.accept)
	return p, nil
}

type quicPublisher struct {
	listener *quic.Listener
	joining  chan *quic.Conn
	free     chan *quicBatch
	// failed carries the first error of a stream.
	failed chan error
	work   sync.WaitGroup

	// current is the batch being filled, or nil.
	current *quicBatch
	// lanes has a queue of batches for each subscriber.
	lanes []chan *quicBatch
}

// A quicBatch is written by every lane and is free again after the last.
type quicBatch struct {
	data []byte
	// left counts the lanes that have not written the batch.
	left atomic.Int32
}

func (p *quicPublisher) addr() string { return p.listener.Addr().String() }

// accept accepts connections until the listener is closed.
func (p *quicPublisher) accept() {
	defer close(p.joining)
	for {
		conn, err := p.listener.Accept(context.Background())
		if err != nil {
			return
		}
		p.joining <- conn
	}
}

func (p *quicPublisher) await(ctx context.Context, n int) error {
	for len(p.lanes) < n {
		select {
		case conn, ok := <-p.joining:
			if !ok {
				return errors.New("the listener ended")
			}
			s, err := conn.OpenUniStreamSync(ctx)
			if err != nil {
				return err
			}
			// A lane has room for every batch, so flush does not block.
			lane := make(chan *quicBatch, quicBatches)
			p.lanes = append(p.lanes, lane)
			p.work.Go(func() { p.write(conn, s, lane) })
		case <-ctx.Done():
			return fmt.Errorf("%d of %d subscribers connected: %w", len(p.lanes), n, context.Cause(ctx))
		}
	}
	return nil
}

// write serves one subscriber until its lane is closed. After an error it
// returns batches unwritten.
func (p *quicPublisher) write(conn *quic.Conn, s *quic.SendStream, lane <-chan *quicBatch) {
	defer func() { _ = conn.CloseWithError(0, "") }()
	var failed error
	for b := range lane {
		if failed == nil {
			if _, failed = s.Write(b.data); failed != nil {
				select {
				case p.failed <- failed:
				default:
				}
			}
		}
		if b.left.Add(-1) == 0 {
			b.data = b.data[:0]
			// This does not block: free has room for every batch.
			p.free <- b
		}
	}
}

func (p *quicPublisher) publish(ctx context.Context, body []byte) error {
	if p.current == nil {
		select {
		case p.current = <-p.free:
		case err := <-p.failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	b := p.current
	b.data = binary.BigEndian.AppendUint32(b.data, uint32(len(body)))
	b.data = append(b.data, body...)
	if len(b.data) < quicBatchSize {
		return nil
	}
	return p.flush(ctx)
}

func (p *quicPublisher) flush(context.Context) error {
	b := p.current
	if b == nil {
		return nil
	}
	p.current = nil
	b.left.Store(int32(len(p.lanes)))
	for _, lane := range p.lanes {
		lane <- b
	}
	return nil
}

func (p *quicPublisher) close() error {
	for _, lane := range p.lanes {
		close(lane)
	}
	err := p.listener.Close()
	for conn := range p.joining {
		_ = conn.CloseWithError(0, "")
	}
	p.work.Wait()
	return err
}

func (quicTopics) subscribe(ctx context.Context, m material, addr string, in *inbox) (subscription, error) {
	conf, err := m.tls(clientSide, quicALPN)
	if err != nil {
		return nil, err
	}
	conn, err := quic.DialAddr(ctx, addr, conf, quicConfig())
	if err != nil {
		return nil, err
	}
	s := &quicSubscription{conn: conn}
	// close ends the goroutine.
	s.work.Go(func() { s.read(context.WithoutCancel(ctx), in) })
	return s, nil
}

type quicSubscription struct {
	conn *quic.Conn
	work sync.WaitGroup
}

// read delivers messages in place from the read buffer, without copying them.
func (s *quicSubscription) read(ctx context.Context, in *inbox) {
	stream, err := s.conn.AcceptUniStream(ctx)
	if err != nil {
		in.fail(err)
		return
	}
	r := bufio.NewReaderSize(stream, quicReadSize)
	for {
		head, err := r.Peek(quicLengthEnd)
		if err != nil {
			in.fail(err)
			return
		}
		n := quicLengthEnd + int(binary.BigEndian.Uint32(head))
		// Peek returns an error if n is larger than the buffer.
		framed, err := r.Peek(n)
		if err != nil {
			in.fail(err)
			return
		}
		in.deliver(framed[quicLengthEnd:])
		// Discard cannot fail after Peek of as many bytes.
		_, _ = r.Discard(n)
	}
}

func (s *quicSubscription) close() error {
	err := s.conn.CloseWithError(0, "")
	s.work.Wait()
	return err
}
