package link

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/notify"
)

// When new tags are announced.
const (
	// tagsPause is the least time between two announcements of tags, so that frequent
	// changes keep neither peers nor the registry busy.
	tagsPause = 100 * time.Millisecond
	// tagsRetry is the pause before a failed update of the registry is retried.
	tagsRetry = time.Second
)

// ownTags are the tags that a node announces: those of the configuration, those
// whose probes succeed, and those added while it runs.
type ownTags struct {
	node *Node
	// now holds all tags, sorted.
	now atomic.Pointer[[]string]
	// wake makes announce look at the tags again.
	wake notify.Flag

	mu sync.Mutex // guards the fields below, and writes of now
	// probed holds whether the probe of a tag succeeds.
	probed map[string]bool
	// added holds how often a tag was added.
	added map[string]int
}

func (o *ownTags) init(n *Node) {
	o.node, o.wake = n, notify.NewFlag()
	o.probed, o.added = make(map[string]bool), make(map[string]int)
	// No lock is needed, because nothing else has o yet. The signal is taken back, because nobody needs to be told.
	o.settleLocked()
	o.wake.Clear()
}

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
	return n.tags.add(tag)
}

// RemoveTag takes back one [Node.AddTag] of this tag. Without one it does nothing.
func (n *Node) RemoveTag(tag string) { n.tags.remove(tag) }

func (o *ownTags) add(tag string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.added[tag] == 0 {
		possible := slices.Concat(o.node.cfg.Tags, slices.Collect(maps.Keys(o.node.cfg.Monitors)), slices.Collect(maps.Keys(o.added)), []string{tag})
		slices.Sort(possible)
		if n := len(slices.Compact(possible)); n > discovery.MaxTags {
			return failed("add tag", Errorf(ResourceExhausted, "the node has %d tags and the tag %q is one too many (discovery.MaxTags); remove one", discovery.MaxTags, tag))
		}
	}
	o.added[tag]++
	o.settleLocked()
	return nil
}

func (o *ownTags) remove(tag string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.added[tag] {
	case 0:
		return
	case 1:
		delete(o.added, tag)
	default:
		o.added[tag]--
	}
	o.settleLocked()
}

// probe records whether the probe of tag succeeds.
func (o *ownTags) probe(tag string, succeeds bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.probed[tag] = succeeds
	o.settleLocked()
}

// has reports whether the probe of tag succeeds.
func (o *ownTags) has(tag string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.probed[tag]
}

// settleLocked recomputes the tags, and has them announced if they changed.
func (o *ownTags) settleLocked() {
	tags := slices.Clone(o.node.cfg.Tags)
	for tag, succeeds := range o.probed {
		if succeeds {
			tags = append(tags, tag)
		}
	}
	tags = slices.AppendSeq(tags, maps.Keys(o.added))
	slices.Sort(tags)
	tags = slices.Compact(tags)
	if last := o.now.Load(); last != nil && slices.Equal(*last, tags) {
		return
	}
	o.now.Store(&tags)
	o.wake.Set()
}

// current returns the tags of the node. They must not be modified.
func (o *ownTags) current() []string { return *o.now.Load() }

// announce tells peers and the registry about new tags, until ctx ends. A failed
// update of the registry is retried until it succeeds.
func (o *ownTags) announce(ctx context.Context) {
	retry := time.NewTimer(tagsRetry)
	retry.Stop()
	defer retry.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
			if e := o.node.endpoint.Load(); e != nil {
				e.AnnounceTags(o.current())
			}
		case <-retry.C:
		}
		err := o.node.reannounce(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			o.node.cfg.Logger.Warn("link: the registry did not take the new tags; trying again every second", "error", err)
		}
		if failing = err != nil; failing {
			retry.Reset(tagsRetry)
		} else {
			retry.Stop()
		}
		pause.Reset(tagsPause)
	}
}

// reannounce updates the registry with the current state of the node. It does
// nothing before the node is announced.
func (n *Node) reannounce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registryWait)
	defer cancel()
	// Only one update runs at a time, so that the last one is the newest.
	select {
	case n.announcing <- struct{}{}:
		defer func() { <-n.announcing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	n.mu.Lock()
	announce, status := n.announce, n.statusLocked()
	n.mu.Unlock()
	if announce == nil {
		return nil
	}
	return announce.Update(ctx, n.describe(status))
}
