package pubsub

import (
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/receive"
	"github.com/linkmesh/link/protocol/pubsub/internal/serve"
)

// rules are shared by the publishers and subscriptions of a node. They are what a hub asks as
// [serve.Rules].
type rules struct {
	// allow is the rule of Authorize, and takes the same for messages; both are nil without one.
	allow atomic.Pointer[func(Access) error]
	takes atomic.Pointer[receive.Rule]
	// hub is the node's hub; nil until the node publishes.
	hub atomic.Pointer[serve.Hub]
	// block is how long publishers may be made to wait, in nanoseconds.
	block atomic.Int64
	// received is what the subscriptions of the node share.
	received *receive.Shared
}

type rulesKey struct{}

func rulesOf(node *link.Node) *rules {
	r, _ := link.HostOf(node).Extension(rulesKey{}, func() any { return &rules{received: receive.NewShared()} }).(*rules)
	return r
}

var errRulePanicked = errors.New("the rule panicked")

type hubKey struct{}

// hubResult is the outcome of making a node's hub, which all its publishers share.
type hubResult struct {
	hub *serve.Hub
	err error
}

// hubOf returns the hub of a node. It makes the hub at first use.
func hubOf(node *link.Node) (*serve.Hub, error) {
	r := rulesOf(node)
	made, _ := link.HostOf(node).Extension(hubKey{}, func() any {
		h, err := serve.New(node, r)
		if err == nil {
			answerStats(node, r)
			r.hub.Store(h)
		}
		return hubResult{h, err}
	}).(hubResult)
	return made.hub, made.err
}

// authorize sets the rule of Authorize. Peers choose what a rule is asked, and a subscription asks it where a panic would end
// the process, so a panic refuses the access.
func (r *rules) authorize(rule func(Access) error, log *slog.Logger) {
	allow := func(a Access) (err error) {
		defer func() {
			if p := recover(); p != nil {
				log.Error("pubsub: the rule of Authorize panicked", "peer", a.Peer, "verb", a.Verb.String(), "topic", a.Topic, "panic", p, "stack", string(debug.Stack()))
				err = errRulePanicked
			}
		}()
		return rule(a)
	}
	takes := receive.Rule(func(peer link.Peer, path string) bool { return allow(access(peer, CanWrite, path)) == nil })
	r.allow.Store(&allow)
	r.takes.Store(&takes)
}

// MayRead implements serve.Rules.
func (r *rules) MayRead(peer link.Peer, pattern, group string, block time.Duration) error {
	allow := r.allow.Load()
	if allow == nil {
		return nil
	}
	a := access(peer, CanRead, pattern)
	a.Group, a.Block = group, block
	return (*allow)(a)
}

// mayInspect returns why a peer may not ask for statistics, nil if it may.
func (r *rules) mayInspect(peer link.Peer) error {
	if allow := r.allow.Load(); allow != nil {
		return (*allow)(Access{Peer: peer, Verb: CanInspect})
	}
	return nil
}

// MostBlock implements serve.Rules.
func (r *rules) MostBlock() time.Duration { return time.Duration(r.block.Load()) }

// own returns the hub as subscriptions of its node see it; nil until the node publishes.
func (r *rules) own() receive.Publisher {
	// A nil hub in the interface would not be nil.
	if h := r.hub.Load(); h != nil {
		return h
	}
	return nil
}
