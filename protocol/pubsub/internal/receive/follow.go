package receive

import (
	"sync"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
)

// start begins to follow the publishers. The channel receives the publishers that are known
// at first.
func (b *Inbox) start() (<-chan []*Member, error) {
	host := link.HostOf(b.conf.Node)
	if b.conf.Service == "" {
		return b.followTag(host)
	}
	route := b.conf.Route(b.conf.Service)
	publishers, err := host.Follow(b.ctx, route, b.conf.Calls...)
	if err != nil {
		return nil, err
	}
	b.running.Go(func() { b.tellIdle(func() error { return host.Unserved(route, b.conf.Calls...) }) })
	known := make(chan []*Member, 1)
	b.running.Go(func() {
		defer b.conf.Shared.exit(b)
		b.follow(b.conf.Service, publishers, true, func(list []*Member) { known <- list })
	})
	return known, nil
}

// followTag follows the publishers of a topic that any service may publish to: the services that
// have an instance with its tag, and in each service the instances that have the tag.
func (b *Inbox) followTag(host link.Host) (<-chan []*Member, error) {
	services, err := host.FollowTag(b.ctx, b.conf.Tag)
	if err != nil {
		return nil, err
	}
	b.running.Go(func() {
		b.tellIdle(func() error {
			return link.Errorf(link.Unavailable, "no service is known that publishes to it: none has the tag %q, or none can be reached", b.conf.Tag)
		})
	})
	known := make(chan []*Member, 1)
	b.running.Go(func() {
		defer b.conf.Shared.exit(b)
		b.followServices(host, services, known)
	})
	return known, nil
}

func (b *Inbox) followServices(host link.Host, services <-chan []string, known chan<- []*Member) {
	seen := make(map[string]bool)
	first := true
	for list := range services {
		var (
			answers sync.WaitGroup
			mu      sync.Mutex // guards all
			all     []*Member
		)
		for _, service := range list {
			if seen[service] {
				// The service is followed already, even while none of its instances publishes.
				continue
			}
			opts := append([]link.CallOption{link.OnTags(b.conf.Tag)}, b.conf.Calls...)
			publishers, err := host.Follow(b.ctx, b.conf.Route(service), opts...)
			if err != nil {
				host.Logger().Warn("pubsub: a service that publishes to a shared topic cannot be followed", "topic", b.conf.Topic, "service", service, "error", err)
				continue
			}
			seen[service] = true
			atFirst := first
			answers.Add(1)
			b.running.Go(func() {
				b.follow(service, publishers, atFirst, func(joined []*Member) {
					mu.Lock()
					all = append(all, joined...)
					mu.Unlock()
					answers.Done()
				})
			})
		}
		if first {
			first = false
			answers.Wait()
			known <- all
		}
	}
}

// follow joins publishers of one service as they appear, until the subscription or the
// node ends. It passes the publishers of the first list to first.
func (b *Inbox) follow(service string, publishers <-chan []discovery.Instance, known bool, first func([]*Member)) {
	for list := range publishers {
		joined := b.members.Update(service, list, func(in discovery.Instance) *Member { return b.meetLocked(service, in, !known) })
		if first != nil {
			first(joined)
		}
		first, known = nil, false
	}
	if first != nil {
		first(nil)
	}
	if b.ctx.Err() == nil {
		b.end(link.Errorf(link.Unavailable, "subscription to %s: the node is closed", b.conf.Topic))
	}
}
