package pubsub

import (
	"github.com/linkmesh/link"
)

// OneOf listens to one publisher at a time, for a feed whose messages several publishers
// send alike. When that publisher is lost or drains, the subscription switches to another.
// Publishers number the messages of the feed with [FeedSeq]; the next publisher then goes on
// after the last message that was read, without a hole or a repetition as far as its log
// reaches back. For a feed without numbers, a gap with the reason "switched" reports that
// messages may be missing.
//
// All messages of a feed must have the same priority. OneOf requires the class BestEffort
// or Reliable, because acks belong to one publisher, and excludes [Group].
func OneOf() SubscribeOption { return subscribeOption(func(s *settings) { s.anyOne = true }) }

// FeedSeq numbers a message of a feed that several publishers send, for [OneOf]. Every
// publisher must give a message the same number, and the numbers must increase.
func FeedSeq(n uint64) PublishOption { return publishOption(func(p *post) { p.message.Feed = n }) }

func (s *settings) checkAnyOne() error {
	if c := Class(s.ask.Class); s.anyOne && (s.ask.Group != "" || c != BestEffort && c != Reliable) {
		return link.Errorf(link.InvalidArgument, "OneOf: the class is %s and the group %q; OneOf is for BestEffort and Reliable without a group", c, s.ask.Group)
	}
	return nil
}
