package security_test

import (
	"bytes"
	"io"
	"net"
	"sync"
)

// newPipe returns the two ends of a connection in memory that takes writes at once, as a socket does: with net.Pipe,
// two sides that send an alert to each other at the same time wait forever.
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
	net.Conn // nil: addresses and deadlines are not used

	in, out *buffer
}

func (p *pipeEnd) Read(to []byte) (int, error) {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	for p.in.data.Len() == 0 && !p.in.closed {
		p.in.ready.Wait()
	}
	return p.in.data.Read(to) // io.EOF when closed and empty
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
