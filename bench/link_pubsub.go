package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/security"
)

// linkTopics is link's publish/subscribe as a program uses it: typed CBOR, the
// cluster-secret tier, one node per subscriber. The subscription blocks the
// publisher instead of losing messages; everything else is the default.
type linkTopics struct{}

// linkPatience is how long a subscriber that is behind may block the publisher.
const linkPatience = 5 * time.Second

// linkTopic is the topic that both sides import.
var linkTopic = pubsub.NewTopic[echo]("feed", "bench") //nolint:gochecknoglobals // how topics are declared

func (linkTopics) name() string   { return "link" }
func (linkTopics) lossless() bool { return true }

func (linkTopics) publisher(ctx context.Context, m material, _ string) (publisher, error) {
	node, err := linkMember(m, "feed")
	if err != nil {
		return nil, err
	}
	pubsub.AllowBackpressure(node, 10*time.Second)
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

// linkMember is like linkNode, with a cluster secret derived from the CA and the
// client key of m, so that a node with another CA or certificate has another secret.
func linkMember(m material, service string, known ...discovery.Instance) (*link.Node, error) {
	registry, err := static.New(known...)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	for _, path := range []string{m.caFile(), m.keyFile(clientSide)} {
		b, err := os.ReadFile(path) //nolint:gosec // a file of the session
		if err != nil {
			return nil, err
		}
		sum.Write(b)
	}
	identity, err := security.NewClusterSource(base64.RawURLEncoding.EncodeToString(sum.Sum(nil)), service, "")
	if err != nil {
		return nil, err
	}
	return link.New(link.Config{
		Service: service, Addr: "127.0.0.1:0", Registry: registry, Identity: identity, Logger: slog.New(slog.DiscardHandler),
	})
}

type linkPublisher struct {
	node *link.Node
	out  *pubsub.Publisher[echo]
	// ended carries the result of Run.
	ended chan error
}

func (p *linkPublisher) addr() string { return p.node.Addr() }

func (p *linkPublisher) await(ctx context.Context, n int) error {
	return p.out.WaitSubscribers(ctx, n)
}

func (p *linkPublisher) publish(ctx context.Context, body []byte) error {
	_, err := p.out.Publish(ctx, echo{body})
	return err
}

// flush does nothing: messages are sent without it.
func (p *linkPublisher) flush(context.Context) error { return nil }

func (p *linkPublisher) close() error {
	return errors.Join(p.node.Close(), <-p.ended)
}

func (linkTopics) subscribe(ctx context.Context, m material, addr string, in *inbox) (subscription, error) {
	node, err := linkMember(m, "reader", discovery.Instance{ID: "feed-1", Service: "feed", Addr: addr})
	if err != nil {
		return nil, err
	}
	sub, err := pubsub.Subscribe(context.WithoutCancel(ctx), node, linkTopic, pubsub.Backpressure(linkPatience))
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
