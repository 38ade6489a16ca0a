package link

import "github.com/linkmesh/link/internal/router"

// CallOption changes one call or one stream that is opened.
type CallOption interface{ applyCall(c *callConfig) }

// HandleOption changes one handler.
type HandleOption interface{ applyHandle(h *handleConfig) }

// callConfig is what the options of a call say.
type callConfig struct {
	metadata Metadata
	key      string
	answered *Peer
	reply    *Metadata
	messages int
	bytes    int
	// ask is what the call asks of the router.
	ask router.Ask
	// size is the largest message in bytes, if sized is set.
	size  int
	sized bool
}

// handleConfig is what the options of a handler say. sized means that maxMessage
// was given, guarded that authorize was.
type handleConfig struct {
	maxMessage int
	sized      bool
	lasting    bool
	authorize  func(Peer) error
	guarded    bool
}

type metaOption struct{ key, value string }

func (o metaOption) applyCall(c *callConfig) { c.metadata = c.metadata.with(o.key, o.value) }

// Meta sends a pair of metadata with the call. If a key is given twice, the last
// value counts. The handler reads it with [MetadataOf].
func Meta(key, value string) CallOption { return metaOption{key, value} }

type keyOption string

func (o keyOption) applyCall(c *callConfig) { c.key = string(o) }

// IdempotencyKey names the operation that the call stands for, in at most 255
// bytes. It lets a call of an [Unsafe] method that may have run be sent again:
// the handler must then use [IdempotencyKeyOf] to do the operation once.
func IdempotencyKey(key string) CallOption { return keyOption(key) }

type answeredOption struct{ peer *Peer }

func (o answeredOption) applyCall(c *callConfig) { c.answered = o.peer }

// AnsweredBy stores in p the peer that answered the call, with a reply or an error.
// p does not change if no peer answered.
func AnsweredBy(p *Peer) CallOption { return answeredOption{p} }

type replyMetaOption struct{ metadata *Metadata }

func (o replyMetaOption) applyCall(c *callConfig) { c.reply = o.metadata }

// ReplyMeta stores in m the metadata that the handler set with [SetReplyMeta].
// m does not change if no peer answered.
func ReplyMeta(m *Metadata) CallOption { return replyMetaOption{m} }

type waitOption struct{}

func (waitOption) applyCall(c *callConfig) { c.ask.Wait = true }

// WaitForReady makes the call wait, until its deadline, for an instance that can
// be reached; without it the call would fail with [Unavailable] at once. It does not
// resend a call that may have run. If calls to a service wait for 5 s, that is logged
// once, until an instance comes.
func WaitForReady() CallOption { return waitOption{} }

type tagsOption []string

func (o tagsOption) applyCall(c *callConfig) { c.ask.Tags = append(c.ask.Tags, o...) }

// OnTags sends the call only to instances that have all of tags, among those that
// the topology lets it reach. If there is none, the call fails with
// [Unavailable].
func OnTags(tags ...string) CallOption { return tagsOption(tags) }

type stickyOption string

func (o stickyOption) applyCall(c *callConfig) { c.ask.Key = string(o) }

// Sticky sends calls with the same key to the same instance, from whichever
// node, for as long as it takes calls and is not much busier than the others; see
// package topology. The key also decides weighted splits. An empty key has no effect.
func Sticky(key string) CallOption { return stickyOption(key) }

type zoneOption struct{}

func (zoneOption) applyCall(c *callConfig) { c.ask.Zone = true }

// InZone sends the call only to instances in the zone of this node, which its
// tag "zone=…" names. If there is none the call fails with [Unavailable].
func InZone() CallOption { return zoneOption{} }

type instanceOption string

func (o instanceOption) applyCall(c *callConfig) { c.ask.Instance = string(o) }

// OnInstance sends the call to the instance with this ID and no other, wherever the
// topology or other options would send it. The timeout, retries, mirror and fault of the
// topology apply as to any call. If the instance cannot be reached the call fails with
// [Unavailable].
func OnInstance(id string) CallOption { return instanceOption(id) }

type creditOption struct{ messages, bytes int }

func (o creditOption) applyCall(c *callConfig) {
	c.messages, c.bytes = o.messages, o.bytes
}

// StreamCredit lets the peer of a stream that [Host.Open] opens send that many credited
// frames and bytes at once, without waiting for [Stream.Grant]; Open fails with
// [InvalidArgument] for less than 0 of either. It has no effect on unary calls.
func StreamCredit(messages, bytes int) CallOption { return creditOption{messages, bytes} }

// Option is an option for both calls and handlers.
type Option interface {
	CallOption
	HandleOption
}

type maxMessageOption int

func (o maxMessageOption) applyCall(c *callConfig)     { c.size, c.sized = int(o), true }
func (o maxMessageOption) applyHandle(h *handleConfig) { h.maxMessage, h.sized = int(o), true }

// MaxMessage overrides Limits.MaxMessage for one route or one call, in both
// directions: bytes of one message, from 1 to 64 MiB.
//
// On a handler it bounds the messages of the route. Callers learn it when they connect,
// and need not set anything: they send and accept as much. On a call or stream it bounds
// what the caller sends and accepts, whatever the route says.
func MaxMessage(bytes int) Option { return maxMessageOption(bytes) }

type lastingOption struct{}

func (lastingOption) applyHandle(h *handleConfig) { h.lasting = true }

// LongLived marks streams that last as long as their callers want, such as those of
// subscriptions. A node that drains waits for all other handlers first, which may still
// have something for these streams, and then closes [Stream.LastCall]. It has no effect on
// unary calls.
func LongLived() HandleOption { return lastingOption{} }

type authorizeOption func(Peer) error

func (o authorizeOption) applyHandle(h *handleConfig) { h.authorize, h.guarded = o, true }

// Authorize lets f decide who may use a route: f returns nil if the peer may, else why
// not. It runs before the message of a call, or any frame of a stream, is read, so a
// refused peer costs the node only its headers. An error without a code becomes
// [PermissionDenied]. Decisions that depend on metadata or on the request belong in
// [Middleware]. f is called on many goroutines at once, for each call and stream; a panic
// of f refuses the peer. If f is nil, registering the handler panics.
func Authorize(f func(Peer) error) HandleOption { return authorizeOption(f) }
