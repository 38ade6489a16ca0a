package link

import (
	"context"

	"github.com/linkmesh/link/discovery"
)

// Probe returns nil if what a tag stands for is available, else an error. It runs every
// second, and must return when ctx ends, which is after a second. A panic counts as an
// error, and each further second for which a probe runs on counts as another. The first
// run decides at once whether the node has the tag. After that two runs in a row must
// disagree with the tag before it appears or goes, so that one hiccup moves no traffic.
type Probe func(ctx context.Context) error

// AddTag adds a tag to those that the node announces beside Config.Tags and
// Config.Monitors, for patterns: others find the node by it ([Node.FollowTag]).
// It may be called before and while the node runs. It does not block: peers and the
// registry are told soon, with changes within 100 ms combined. A failed update of the
// registry is retried every second. A node that never runs announces nothing.
//
// Tags are counted: a tag that was added twice has to be removed twice. A tag that
// Config.Tags or a probe announces, too, stays as long as any of them does.
//
// Errors: InvalidArgument names the tag and the broken rule of
// discovery.Instance.Tags, or says that a place such as "zone=eu-1a" belongs in
// Config.Tags; ResourceExhausted beyond discovery.MaxTags, counting what
// Config.Monitors may announce.
func (n *Node) AddTag(tag string) error {
	if err := (discovery.TagQuery{Tag: tag}).Validate(); err != nil {
		return failed("add tag", Errorf(InvalidArgument, "%w", err))
	}
	if discovery.IsPlace(tag) {
		return failed("add tag", Errorf(InvalidArgument, "the tag %q says where the node is, which is known when it is made; put it in Config.Tags", tag))
	}
	if err := n.presence.Add(tag); err != nil {
		return failed("add tag", Errorf(ResourceExhausted, "%w", err))
	}
	return nil
}

// RemoveTag takes back one [Node.AddTag] of this tag. Without one it does nothing.
func (n *Node) RemoveTag(tag string) { n.presence.Remove(tag) }

// announceTags tells the connected peers about new tags.
func (n *Node) announceTags(tags []string) {
	if e := n.endpoint.Load(); e != nil {
		e.AnnounceTags(tags)
	}
}
