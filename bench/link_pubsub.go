package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/protocol/pubsub"
)

// linkTopics is link's publish/subscribe as a program uses it: typed CBOR, the
// cluster-secret tier, one node per subscriber. The subscription holds the
// publisher back instead of losing messages; the rest is the default.
type linkTopics struct{}

// linkPatience is how long a subscriber that is behind holds the publisher back.
const linkPatience = 5 * time.Second

// linkTopic is what both sides import.
var linkTopic = pubsub.NewTopic[echo]("feed", "bench") //nolint:gochecknoglobals // how topics are declared

func (linkTopics) name() string   { return "link" }
func (linkTopics) lossless() bool { return true }

func (linkTopics) publisher(ctx context.Context, _ material, _ string) (publisher, error) {
	node, err := linkNode("feed")
	if err != nil {
		return nil, err
	}
	out, err := pubsub.NewPublisher(node, linkTopic)
	if err != nil {
		return nil, errors.Join(err, node.Close())
	}
	p := &linkPublisher{node: node, out: out, ended: make(chan error, 1)}
	go func() { p.ended <- node.Run(ctx) }()
	select {
	case <-node.Ready():
		return p, nil
	case err := <-p.ended:
		return nil, err
	}
}

type linkPublisher struct {
	node  *link.Node
	out   *pubsub.Publisher[echo]
	ended chan error // what Run returned
}

func (p *linkPublisher) addr() string { return p.node.Addr() }

func (p *linkPublisher) await(ctx context.Context, n int) error {
	return p.out.WaitSubscribers(ctx, n)
}

func (p *linkPublisher) publish(ctx context.Context, body []byte) error {
	_, err := p.out.Publish(ctx, echo{body})
	return err
}

// flush has nothing to do: a message leaves by itself.
func (p *linkPublisher) flush(context.Context) error { return nil }

func (p *linkPublisher) close() error {
	err := p.node.Close()
	<-p.ended
	return err
}

func (linkTopics) subscribe(ctx context.Context, _ material, addr string, in *inbox) (subscription, error) {
	node, err := linkNode("reader", discovery.Instance{ID: "feed-1", Service: "feed", Addr: addr})
	if err != nil {
		return nil, err
	}
	sub, err := pubsub.Subscribe(ctx, node, linkTopic, pubsub.Block(linkPatience))
	if err != nil {
		return nil, errors.Join(err, node.Close())
	}
	s := &linkSubscription{node: node, sub: sub}
	s.work.Go(func() {
		for msg := range sub.Messages() {
			switch {
			case msg.Err != nil:
				in.fail(msg.Err)
				return
			case msg.Gap != nil:
				in.fail(fmt.Errorf("%d messages are missing: %s", msg.Gap.Count, msg.Gap.Reason))
				return
			}
			in.deliver(msg.Value.Payload)
		}
	})
	return s, nil
}

type linkSubscription struct {
	node *link.Node
	sub  *pubsub.Subscription[echo]
	work sync.WaitGroup
}

func (s *linkSubscription) close() error {
	s.sub.Close()
	s.work.Wait()
	return s.node.Close()
}
