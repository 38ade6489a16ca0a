package pubsub

import (
	"sync"

	"github.com/linkmesh/link"
)

// followShared follows the publishers of a shared topic: the services that have an
// instance with its tag, and in each service the instances that have the tag.
func (s *Subscription[T]) followShared() (<-chan []*member, error) {
	services, err := link.HostOf(s.node).FollowTag(s.ctx, s.topic.tag())
	if err != nil {
		return nil, err
	}
	s.running.Go(func() {
		s.tellIdle(func() error {
			return link.Errorf(link.Unavailable, "no service is known that publishes to it: none has the tag %q, or none can be reached", s.topic.tag())
		})
	})
	known := make(chan []*member, 1)
	s.running.Go(func() {
		defer s.rules.exit(s.inbox)
		s.followServices(services, known)
	})
	return known, nil
}

func (s *Subscription[T]) followServices(services <-chan []string, known chan<- []*member) {
	seen := make(map[string]bool)
	first := true
	for list := range services {
		var (
			answers sync.WaitGroup
			mu      sync.Mutex // guards all
			all     []*member
		)
		for _, service := range list {
			if seen[service] {
				// The service is followed already, even while none of its instances publishes.
				continue
			}
			opts := append([]link.CallOption{link.OnTags(s.topic.tag())}, s.want.calls...)
			publishers, err := link.HostOf(s.node).Follow(s.ctx, s.topic.route(service), opts...)
			if err != nil {
				link.HostOf(s.node).Logger().Warn("pubsub: a service that publishes to a shared topic cannot be followed", "topic", s.name, "service", service, "error", err)
				continue
			}
			seen[service] = true
			atFirst := first
			answers.Add(1)
			s.running.Go(func() {
				s.follow(service, publishers, atFirst, func(joined []*member) {
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
