package pubsub

import (
	"context"
	"crypto/rand"
	"iter"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

const (
	// creditFrames and creditBytes are what a publisher may have on its way to one
	// subscription that has not been read.
	creditFrames = 64
	creditBytes  = 1 << 20
)

// Subscription is the messages of a topic from all its publishers. End it with
// [Subscription.Close] or the context it was made with.
type Subscription[T any] struct {
	node    *link.Node
	topic   Topic[T]
	want    settings
	codec   codec.Codec
	cancel  context.CancelFunc
	ctx     context.Context //nolint:containedctx // a subscription is a lasting call; it ends the subscription
	running sync.WaitGroup
	in      chan *frames // what was received, in order for each publisher

	mu      sync.Mutex // guards the fields below
	members map[string]*member
	refused error   // by a publisher, for good
	half    *frames // of which a loop has taken a part
}

// frames is one frame of records and where it came from.
type frames struct {
	from   *member
	stream *link.Stream
	reader *journal.Reader
	live   uint64
	body   []byte
	owed   bool // credit is due for it
}

// Subscribe subscribes to t at all instances of its service that the topology lets
// the node reach, now and later. It returns when those that are known have
// confirmed, or after [ConfirmTime]; the others are joined in the background. The
// subscription lasts until ctx ends or it is closed.
//
// A publisher that is lost is connected to again, and goes on where it was: what it
// no longer keeps by then is told as a gap. Publishers that appear later are heard
// from their first message on.
//
// Errors: InvalidArgument for a name that is none; what a publisher refused the
// subscription with, such as PermissionDenied; those of [link.Node.Follow].
func Subscribe[T any](ctx context.Context, node *link.Node, t Topic[T], opts ...SubscribeOption) (*Subscription[T], error) {
	if err := t.checkPattern(); err != nil {
		return nil, err
	}
	s := &Subscription[T]{node: node, topic: t, codec: node.Codec(), in: make(chan *frames, creditFrames), members: make(map[string]*member)}
	s.want.ask.Patterns = []string{t.name}
	for _, opt := range opts {
		opt.applySubscribe(&s.want)
	}
	if _, err := s.want.ask.subscription(); err != nil {
		return nil, err
	}
	if Class(s.want.ask.Class) == AtLeastOnce {
		s.want.ask.Session = rand.Text()
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	publishers, err := node.Follow(s.ctx, t.route(), s.want.calls...) //nolint:contextcheck // it is derived from ctx
	if err != nil {
		s.cancel()
		return nil, err
	}
	known := make(chan []*member, 1)
	s.running.Go(func() { s.follow(publishers, known) })
	if err := s.confirmed(known); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// confirmed waits until the publishers that are known have answered.
func (s *Subscription[T]) confirmed(known <-chan []*member) error {
	patience := time.NewTimer(ConfirmTime)
	defer patience.Stop()
	var first []*member
	select {
	case first = <-known:
	case <-patience.C:
		return nil
	case <-s.ctx.Done():
		return link.Errorf(link.CodeOf(s.ctx.Err()), "subscribe to %s: %w", s.topic, context.Cause(s.ctx))
	}
	for _, m := range first {
		select {
		case <-m.settled:
		case <-patience.C:
			return nil
		case <-s.ctx.Done():
			return link.Errorf(link.CodeOf(s.ctx.Err()), "subscribe to %s: %w", s.topic, context.Cause(s.ctx))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// follow joins publishers that appear and lets go of those that vanish.
func (s *Subscription[T]) follow(publishers <-chan []discovery.Instance, known chan<- []*member) {
	first := true
	for list := range publishers {
		var joined []*member
		s.mu.Lock()
		there := make(map[string]bool, len(list))
		for _, in := range list {
			there[in.ID] = true
			if s.members[in.ID] != nil {
				continue
			}
			m := newMember(in.ID, &s.want.ask, !first)
			s.members[in.ID] = m
			joined = append(joined, m)
			s.running.Go(func() { s.attend(m) })
		}
		for id, m := range s.members {
			if !there[id] {
				m.leaving.Store(true) // its stream ends by itself, when all has been said
			}
		}
		s.mu.Unlock()
		if first {
			first = false
			known <- joined
		}
	}
}

// attend keeps a stream to one publisher for as long as it is there.
func (s *Subscription[T]) attend(m *member) {
	defer m.settle()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.members[m.id] == m {
			delete(s.members, m.id)
		}
	}()
	for failures := 0; ; {
		began := time.Now()
		err := s.listen(m)
		m.settle()
		if s.ctx.Err() != nil || err != nil && final(err) {
			if err != nil && final(err) {
				s.refuse(err)
			}
			return
		}
		if m.leaving.Load() {
			return
		}
		if failures++; time.Since(began) > rejoinMost {
			failures = 1
		}
		if !s.pause(failures) {
			return
		}
	}
}

// final reports whether trying again will not mend an error.
func final(err error) bool {
	switch link.CodeOf(err) { //nolint:exhaustive // the others pass
	case link.PermissionDenied, link.InvalidArgument, link.Unimplemented:
		return true
	}
	return false
}

func (s *Subscription[T]) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		s.refused = err
	}
}

// How soon a publisher that was lost is connected to again; the transport has its
// own, longer backoff between dials.
const (
	rejoinLeast = 50 * time.Millisecond
	rejoinMost  = 5 * time.Second
)

func (s *Subscription[T]) pause(failures int) bool {
	d := min(rejoinLeast<<min(failures-1, 10), rejoinMost)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// listen has one stream to a publisher until it ends.
func (s *Subscription[T]) listen(m *member) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	opts := []link.CallOption{link.OnInstance(m.id), link.Credit(creditFrames, creditBytes)}
	st, err := s.node.Open(ctx, route(s.topic.service), opts...)
	if err != nil {
		return err
	}
	defer st.Close()
	ask := m.ask()
	f, err := frame(kindSubscribe, ask)
	if err == nil {
		err = st.Send(f)
	}
	if err != nil {
		return err
	}
	if f, err = st.Recv(); err != nil {
		return err
	}
	var answer subscribed
	if err := parse(f, kindSubscribed, &answer); err != nil {
		return err
	}
	m.joined(&answer)
	reader := journal.NewReader(journal.ReaderLimits{})
	verdicts := make(chan struct{})
	go func() {
		defer close(verdicts)
		m.report(ctx, st)
	}()
	defer func() { cancel(); <-verdicts }()
	for {
		f, err := st.Recv()
		if err != nil {
			return err
		}
		if f.Kind != kindRecords {
			continue // of a later version
		}
		next := &frames{m, st, reader, answer.Live, f.Body, f.Credited}
		if !f.Credited { // it says how far the publisher is, and the next one says so again
			select {
			case s.in <- next:
			default:
			}
			continue
		}
		select {
		case s.in <- next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Messages yields messages and gaps, waiting for each, until the subscription ends.
// It must be ranged over by one goroutine at a time; leaving the loop ends nothing.
// The message is the caller's.
func (s *Subscription[T]) Messages() iter.Seq[*Message[T]] {
	return func(yield func(*Message[T]) bool) {
		s.mu.Lock()
		half := s.half
		s.half = nil
		s.mu.Unlock()
		if half != nil && !s.yield(half, yield) {
			return
		}
		for {
			select {
			case f := <-s.in:
				f.reader.Reset(f.body)
				if !s.yield(f, yield) {
					return
				}
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// yield passes on the records of one frame.
func (s *Subscription[T]) yield(f *frames, yield func(*Message[T]) bool) bool {
	var rec journal.Record
	for {
		ok, err := f.reader.Next(&rec)
		if err != nil {
			f.stream.Close() // it cannot be understood any further; it is opened again
			break
		}
		if !ok {
			break
		}
		if !f.from.observe(&rec) || rec.Kind == journal.KindMark {
			continue
		}
		if !yield(s.message(f, &rec)) {
			s.keep(f)
			return false
		}
	}
	if f.owed {
		_ = f.stream.Grant(1, len(f.body)) // fails if the stream has ended, and then nobody needs it
	}
	return true
}

// keep puts the rest of a frame back for the next loop.
func (s *Subscription[T]) keep(f *frames) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.half = f
}

func (s *Subscription[T]) message(f *frames, rec *journal.Record) *Message[T] {
	m := &Message[T]{Publisher: f.from.id}
	if rec.Kind == journal.KindGap {
		m.Gap = &Gap{Reason: rec.Gap.Reason.String(), From: rec.Gap.From, To: rec.Gap.To, Count: rec.Gap.Count}
		return m
	}
	m.Topic, m.Key, m.Seq, m.Time = rec.Topic, string(rec.Key), rec.Seq, rec.Time
	m.Priority, m.Attempt, m.Replayed = rec.Priority, rec.Attempt, rec.Seq < f.live
	m.headers = rec.Headers
	if err := s.codec.Decode(rec.Payload, &m.Value); err != nil {
		m.Err = link.Errorf(link.Internal, "decoding message %d of %s into %T: %w", m.Seq, m.Topic, m.Value, err)
	}
	if f.from.acks {
		m.from = f.from
	}
	return m
}

// Err returns why a publisher refused the subscription for good, nil if none did.
func (s *Subscription[T]) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// Close ends the subscription at all publishers and waits until nothing of it runs.
// It is idempotent.
func (s *Subscription[T]) Close() {
	s.cancel()
	s.running.Wait()
}
