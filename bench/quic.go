package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/quic-go/quic-go"
)

// quicPeer is the upper limit: length-prefixed bytes on leased streams of one
// raw quic-go connection, with nothing around them. A stream has one call in
// flight at a time, and is reused after it.
type quicPeer struct{}

const (
	quicALPN = "bench-quic"

	// quicCopyLimit is the size up to which length and payload are joined into
	// one write, which quic-go can send as one packet.
	quicCopyLimit = 16 << 10
	quicFrameMax  = 16 << 20
)

func quicConfig() *quic.Config {
	return &quic.Config{
		MaxIncomingStreams:             4096,
		InitialStreamReceiveWindow:     4 << 20,
		MaxStreamReceiveWindow:         16 << 20,
		InitialConnectionReceiveWindow: 16 << 20,
		MaxConnectionReceiveWindow:     128 << 20,
	}
}

func (quicPeer) name() string { return "quic" }

func (quicPeer) serve(ctx context.Context, m material, ready func(string)) error {
	conf, err := m.tls(serverSide, quicALPN)
	if err != nil {
		return err
	}
	l, err := quic.ListenAddr("127.0.0.1:0", conf, quicConfig())
	if err != nil {
		return err
	}
	ready(l.Addr().String())
	var streams sync.WaitGroup
	defer streams.Wait()
	defer l.Close()
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			return endedBy(ctx, err)
		}
		streams.Go(func() {
			defer func() { _ = conn.CloseWithError(0, "") }()
			for {
				s, err := conn.AcceptStream(ctx)
				if err != nil {
					return
				}
				streams.Go(func() { echoStream(s) })
			}
		})
	}
}

// echoStream answers calls on one leased stream until it fails or ends.
func echoStream(s *quic.Stream) {
	f := newFrames(s)
	var body []byte
	for {
		var err error
		if body, err = f.read(body[:0]); err != nil {
			return
		}
		if err := f.write(body); err != nil {
			return
		}
	}
}

func (quicPeer) dial(ctx context.Context, m material, addr string) (caller, error) {
	conf, err := m.tls(clientSide, quicALPN)
	if err != nil {
		return nil, err
	}
	conn, err := quic.DialAddr(ctx, addr, conf, quicConfig())
	if err != nil {
		return nil, err
	}
	return &quicCaller{conn: conn}, nil
}

type quicCaller struct {
	conn *quic.Conn

	mu   sync.Mutex // guards free
	free []*frames
}

func (c *quicCaller) close() error { return c.conn.CloseWithError(0, "") }

// call uses ctx only to open a stream: the upper limit does not pay for deadlines.
func (c *quicCaller) call(ctx context.Context, payload []byte) ([]byte, error) {
	f, err := c.lease(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.write(payload); err != nil {
		return nil, err
	}
	reply, err := f.read(nil)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.free = append(c.free, f)
	c.mu.Unlock()
	return reply, nil
}

func (c *quicCaller) lease(ctx context.Context) (*frames, error) {
	c.mu.Lock()
	if n := len(c.free); n > 0 {
		f := c.free[n-1]
		c.free = c.free[:n-1]
		c.mu.Unlock()
		return f, nil
	}
	c.mu.Unlock()
	s, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return newFrames(s), nil
}

// frames reads and writes length-prefixed bytes on one stream.
type frames struct {
	w   io.Writer
	r   *bufio.Reader
	out []byte
}

func newFrames(rw io.ReadWriter) *frames {
	return &frames{w: rw, r: bufio.NewReaderSize(rw, 4096)}
}

func (f *frames) write(body []byte) error {
	f.out = binary.BigEndian.AppendUint32(f.out[:0], uint32(len(body)))
	if len(body) <= quicCopyLimit {
		f.out = append(f.out, body...)
		body = nil
	}
	if _, err := f.w.Write(f.out); err != nil {
		return err
	}
	if len(body) == 0 {
		return nil
	}
	_, err := f.w.Write(body)
	return err
}

// read returns the next body. It uses buf if it is large enough.
func (f *frames) read(buf []byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > quicFrameMax {
		return nil, fmt.Errorf("frame of %d bytes is larger than %d", n, quicFrameMax)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err := io.ReadFull(f.r, buf)
	return buf, err
}
