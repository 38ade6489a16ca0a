package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pub"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
	"go.nanomsg.org/mangos/v3/protocol/sub"
	_ "go.nanomsg.org/mangos/v3/transport/tlstcp" // tls+tcp:// addresses
)

// mangosTopics is mangos pub/sub over TLS on TCP, one socket per subscriber.
//
// A PUB socket has no back-pressure: at full speed it drops most messages, and
// making them takes processor time from delivering the rest. This type does what
// mangos users do who cannot lose messages: subscribers report their progress on
// a second pair of sockets, PUSH to PULL, and the publisher waits when the
// slowest is a window behind. It delivers more messages that way.
type mangosTopics struct{}

const (
	// mangosTopic is the prefix of every message, which is how mangos matches topics.
	mangosTopic = "bench|"
	// mangosJoining is how many attached subscribers may wait for await.
	mangosJoining  = 64
	mangosAnywhere = "tls+tcp://127.0.0.1:0"
)

func (mangosTopics) name() string   { return "mangos" }
func (mangosTopics) lossless() bool { return false }

func (mangosTopics) publisher(_ context.Context, m material, _ string) (publisher, error) {
	conf, err := m.tls(serverSide)
	if err != nil {
		return nil, err
	}
	p := &mangosPublisher{attached: make(chan struct{}, mangosJoining), window: newWindow()}
	if p.out, err = pub.NewSocket(); err != nil {
		return nil, err
	}
	if p.back, err = pull.NewSocket(); err != nil {
		return nil, errors.Join(err, p.out.Close())
	}
	p.out.SetPipeEventHook(func(event mangos.PipeEvent, _ mangos.Pipe) {
		if event == mangos.PipeEventAttached {
			p.attached <- struct{}{}
		}
	})
	err = p.out.SetOption(mangos.OptionWriteQLen, windowMessages)
	for _, sock := range []mangos.Socket{p.out, p.back} {
		l, lerr := sock.NewListener(mangosAnywhere, map[string]any{mangos.OptionTLSConfig: conf})
		if lerr == nil {
			lerr = l.Listen()
		}
		if err = errors.Join(err, lerr); err != nil {
			return nil, errors.Join(err, p.out.Close(), p.back.Close())
		}
		p.addrs = append(p.addrs, l.Address())
	}
	p.work.Go(p.hear)
	return p, nil
}

type mangosPublisher struct {
	out, back mangos.Socket
	// addrs are the addresses that out and back listen on.
	addrs []string
	// attached gets an element for each subscriber that attaches; await moves them to count.
	attached chan struct{}
	count    int
	window   *window
	work     sync.WaitGroup
}

func (p *mangosPublisher) addr() string { return strings.Join(p.addrs, ",") }

// hear receives the subscribers' progress reports until the socket is closed.
func (p *mangosPublisher) hear() {
	for {
		m, err := p.back.RecvMsg()
		if err != nil {
			return
		}
		p.window.hear(m.Body)
		m.Free()
	}
}

func (p *mangosPublisher) await(ctx context.Context, n int) error {
	for ; p.count < n; p.count++ {
		select {
		case <-p.attached:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d subscribers connected: %w", p.count, n, context.Cause(ctx))
		}
	}
	return p.window.await(ctx, n)
}

func (p *mangosPublisher) publish(ctx context.Context, body []byte) error {
	if err := p.window.enter(ctx, len(body)); err != nil {
		return err
	}
	m := mangos.NewMessage(len(mangosTopic) + len(body))
	m.Body = append(append(m.Body, mangosTopic...), body...)
	return p.out.SendMsg(m)
}

func (p *mangosPublisher) flush(context.Context) error { return nil }

func (p *mangosPublisher) close() error {
	err := errors.Join(p.out.Close(), p.back.Close())
	p.work.Wait()
	return err
}

func (mangosTopics) subscribe(_ context.Context, m material, addr string, in *inbox) (subscription, error) {
	conf, err := m.tls(clientSide)
	if err != nil {
		return nil, err
	}
	there, back, ok := strings.Cut(addr, ",")
	if !ok {
		return nil, fmt.Errorf("%q is not two addresses", addr)
	}
	s := new(mangosSubscription)
	if s.in, err = sub.NewSocket(); err != nil {
		return nil, err
	}
	if s.back, err = push.NewSocket(); err != nil {
		return nil, errors.Join(err, s.in.Close())
	}
	options := map[string]any{mangos.OptionTLSConfig: conf}
	progress := newProgress(in.size)
	err = errors.Join(
		s.in.SetOption(mangos.OptionReadQLen, windowMessages),
		s.in.SetOption(mangos.OptionSubscribe, []byte(mangosTopic)),
		s.in.DialOptions(there, options),
		s.back.DialOptions(back, options),
		s.back.Send(progress.report(0)))
	if err != nil {
		return nil, errors.Join(err, s.in.Close(), s.back.Close())
	}
	s.work.Go(func() { s.read(in, progress) })
	return s, nil
}

type mangosSubscription struct {
	in, back mangos.Socket
	work     sync.WaitGroup
}

// read delivers messages and reports progress until the socket is closed.
func (s *mangosSubscription) read(in *inbox, progress *progress) {
	for {
		m, err := s.in.RecvMsg()
		if err != nil {
			return
		}
		in.deliver(m.Body[len(mangosTopic):])
		m.Free()
		if next := in.next.Load(); progress.due(next) {
			if err := s.back.Send(progress.report(next)); err != nil {
				return
			}
		}
	}
}

func (s *mangosSubscription) close() error {
	err := errors.Join(s.in.Close(), s.back.Close())
	s.work.Wait()
	return err
}
