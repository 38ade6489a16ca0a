package consul

import (
	"context"
	"errors"
	"net"
	"sync"
)

// pipes is an in-memory network with one listener, which works in a synctest bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once

	mu      sync.Mutex
	refused bool
	open    map[*pipe]struct{}
	// most is the largest number of connections that were open at one time.
	most int
}

type pipe struct {
	net.Conn
	p *pipes
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), done: make(chan struct{}), open: make(map[*pipe]struct{})}
}

var errRefused = errors.New("connection refused")

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	refused := p.refused
	p.mu.Unlock()
	if refused {
		return nil, &net.OpError{Op: "dial", Err: errRefused}
	}
	near, far := net.Pipe()
	c := &pipe{Conn: near, p: p}
	p.mu.Lock()
	p.open[c] = struct{}{}
	p.most = max(p.most, len(p.open))
	p.mu.Unlock()
	select {
	case p.conns <- far:
		return c, nil
	case <-p.done:
		return nil, errors.Join(net.ErrClosed, c.Close())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), c.Close())
	}
}

func (c *pipe) Close() error {
	c.p.mu.Lock()
	delete(c.p.open, c)
	c.p.mu.Unlock()
	return c.Conn.Close()
}

func (p *pipes) refuse(yes bool) {
	p.mu.Lock()
	p.refused = yes
	var cut []*pipe
	for c := range p.open {
		if yes {
			cut = append(cut, c)
		}
	}
	p.mu.Unlock()
	for _, c := range cut {
		_ = c.Close()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }
