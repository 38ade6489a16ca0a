package main

import (
	"context"
	"errors"
	"fmt"
)

func brokerChild(ctx context.Context, spec childSpec, p *parent) error {
	if system, err := find(dispatchers(), spec.peer); err == nil {
		if b, ok := system.(durableBroker); ok {
			return b.broker(ctx, spec.material, spec.data, p.ready(func(request) (reply, error) {
				return reply{}, errors.New("a broker is asked for nothing")
			}))
		}
	}
	system, err := find(broadcasters(), spec.peer)
	if err != nil {
		return err
	}
	b, ok := system.(brokered)
	if !ok {
		return fmt.Errorf("%s has no broker", spec.peer)
	}
	return b.broker(ctx, spec.material, p.ready(func(request) (reply, error) {
		return reply{}, errors.New("a broker is asked for nothing")
	}))
}

func publisherChild(ctx context.Context, spec childSpec, p *parent) error {
	system, err := find(broadcasters(), spec.peer)
	if err != nil {
		return err
	}
	out, err := system.publisher(ctx, spec.material, spec.addr)
	if err != nil {
		return err
	}
	return publish(ctx, out, p)
}

// publish answers requests with out until the input ends, and closes out.
func publish(ctx context.Context, out publisher, p *parent) error {
	press := press{publisher: out}
	err := p.talk(reply{Addr: out.addr()}, func(q request) (r reply, err error) {
		switch {
		case q.Await > 0:
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			err = out.await(ctx, q.Await)
		case q.Burst != nil:
			err = press.run(ctx, *q.Burst)
			r.Published = press.next
		default:
			err = errors.New("a publisher awaits and publishes")
		}
		return r, err
	})
	return errors.Join(err, out.close())
}

func subscriberChild(ctx context.Context, spec childSpec, p *parent) error {
	system, err := find(broadcasters(), spec.peer)
	if err != nil {
		return err
	}
	dialCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var all inboxes
	var subscriptions []subscription
	for range spec.subs {
		in := &inbox{size: spec.size}
		sub, err := system.subscribe(dialCtx, spec.material, spec.addr, in)
		if err != nil {
			return errors.Join(err, closeAll(subscriptions))
		}
		all = append(all, in)
		subscriptions = append(subscriptions, sub)
	}
	err = p.talk(reply{}, func(q request) (r reply, err error) {
		switch {
		case q.Count != nil:
			r.Rate, err = all.rate(ctx, *q.Count)
		case q.Settle != nil:
			r.Took, err = all.settle(ctx, *q.Settle)
			r.Received = all.received()
		default:
			err = errors.New("a subscriber counts and settles")
		}
		return r, err
	})
	return errors.Join(err, closeAll(subscriptions))
}

func closeAll(subscriptions []subscription) error {
	errs := make([]error, len(subscriptions))
	for i, sub := range subscriptions {
		errs[i] = sub.close()
	}
	return errors.Join(errs...)
}
