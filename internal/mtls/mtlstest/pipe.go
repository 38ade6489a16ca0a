package mtlstest

import (
	"bytes"
	"io"
	"net"
	"sync"
)

// newPipe returns the two ends of an in-memory connection whose writes do not block, like those of a socket. With
// net.Pipe, two sides that send each other an alert at the same time would wait forever.
func newPipe() (a, b net.Conn) {
	left, right := newBuffer(), newBuffer()
	return &pipeEnd{in: left, out: right}, &pipeEnd{in: right, out: left}
}

type buffer struct {
	mu     sync.Mutex // guards the fields below
	ready  *sync.Cond
	data   bytes.Buffer
	closed bool
}

func newBuffer() *buffer {
	b := new(buffer)
	b.ready = sync.NewCond(&b.mu)
	return b
}

type pipeEnd struct {
	// Conn is nil, because addresses and deadlines are not used.
	net.Conn

	in, out *buffer
}

func (p *pipeEnd) Read(to []byte) (int, error) {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	for p.in.data.Len() == 0 && !p.in.closed {
		p.in.ready.Wait()
	}
	// Read returns io.EOF if the buffer is empty.
	return p.in.data.Read(to)
}

func (p *pipeEnd) Write(data []byte) (int, error) {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	if p.out.closed {
		return 0, io.ErrClosedPipe
	}
	defer p.out.ready.Broadcast()
	return p.out.data.Write(data)
}

func (p *pipeEnd) Close() error {
	for _, b := range []*buffer{p.in, p.out} {
		b.mu.Lock()
		b.closed = true
		b.ready.Broadcast()
		b.mu.Unlock()
	}
	return nil
}
