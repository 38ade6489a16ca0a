package main

import (
	"context"
	"errors"
	"sync"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
)

// mangosPipes is mangos PUSH and PULL over TLS on TCP: no acks, no redelivery, and
// nothing on disk. Workers listen, and the producer dials each of them.
type mangosPipes struct{}

func (mangosPipes) name() string   { return "mangos" }
func (mangosPipes) lossless() bool { return false }
func (mangosPipes) durable() bool  { return false }

func (mangosPipes) worker(_ context.Context, m material, _ string, done func([]byte)) (worker, error) {
	conf, err := m.tls(serverSide)
	if err != nil {
		return nil, err
	}
	w := new(mangosWorker)
	if w.in, err = pull.NewSocket(); err != nil {
		return nil, err
	}
	err = w.in.SetOption(mangos.OptionReadQLen, windowMessages)
	l, lerr := w.in.NewListener(mangosAnywhere, map[string]any{mangos.OptionTLSConfig: conf})
	if lerr == nil {
		lerr = l.Listen()
	}
	if err = errors.Join(err, lerr); err != nil {
		return nil, errors.Join(err, w.in.Close())
	}
	w.at = l.Address()
	w.work.Go(func() {
		for {
			msg, err := w.in.RecvMsg()
			if err != nil {
				return
			}
			done(msg.Body)
			msg.Free()
		}
	})
	return w, nil
}

type mangosWorker struct {
	in   mangos.Socket
	at   string
	work sync.WaitGroup
}

func (w *mangosWorker) addr() string { return w.at }

func (w *mangosWorker) close() error {
	err := w.in.Close()
	w.work.Wait()
	return err
}

func (mangosPipes) producer(_ context.Context, m material, addrs []string, _ string) (publisher, error) {
	conf, err := m.tls(clientSide)
	if err != nil {
		return nil, err
	}
	p := new(mangosProducer)
	if p.out, err = push.NewSocket(); err != nil {
		return nil, err
	}
	err = p.out.SetOption(mangos.OptionWriteQLen, windowMessages)
	for _, addr := range addrs {
		err = errors.Join(err, p.out.DialOptions(addr, map[string]any{mangos.OptionTLSConfig: conf}))
	}
	if err != nil {
		return nil, errors.Join(err, p.out.Close())
	}
	return p, nil
}

type mangosProducer struct{ out mangos.Socket }

func (p *mangosProducer) addr() string { return "" }

func (p *mangosProducer) await(context.Context, int) error { return nil }

func (p *mangosProducer) publish(_ context.Context, body []byte) error { return p.out.Send(body) }

func (p *mangosProducer) flush(context.Context) error { return nil }

func (p *mangosProducer) close() error { return p.out.Close() }
