package pubsub

import "github.com/linkmesh/link"

func (s *Subscription[T]) followShared() (<-chan []*member, error) {
	return nil, link.Errorf(link.Unimplemented, "shared topics")
}
