package pubsub

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// follow joins publishers of one service as they appear, until the subscription or the
// node ends. It passes the publishers of the first list to first.
func (b *inbox) follow(service string, publishers <-chan []discovery.Instance, known bool, first func([]*member)) {
	for list := range publishers {
		joined := b.update(service, list, known)
		if first != nil {
			first(joined)
		}
		first, known = nil, false
	}
	if first != nil {
		first(nil)
	}
	if b.ctx.Err() == nil {
		b.end(link.Errorf(link.Unavailable, "subscription to %s: the node is closed", b.name))
	}
}

// attend keeps a connection to one publisher for as long as it is there.
func (b *inbox) attend(m *member) {
	defer m.settle()
	for failures := 0; ; {
		var err error
		began := time.Now()
		turn := b.takeTurn(m)
		if turn {
			err = b.listen(m)
			b.giveTurn()
			m.lost(err)
		}
		if errors.Is(err, errUnheard) && b.ctx.Err() == nil {
			b.unheard(m, err)
		}
		switch {
		case b.ctx.Err() != nil:
			return
		case b.parted(m):
			return
		case !turn:
			// The publisher left and came back while the member waited for its turn.
			continue
		case err != nil && final(err):
			b.node.Logger().Warn("pubsub: a publisher refuses a subscription", "topic", b.name, "publisher", m.id, "error", err)
			b.refuse(err)
			if b.forget(m) == 0 {
				b.cancel(err)
			}
			return
		}
		if errors.Is(err, link.ErrProcessGone) {
			// The process is gone even if discovery still shows it.
			b.gone(m)
		}
		if failures++; time.Since(began) > rejoinMost {
			failures = 1
		}
		// A node that lacks a publisher may get one later. Subscribe does not wait for it.
		lacks := errors.Is(err, link.Unimplemented)
		if lacks {
			m.waits()
			m.settle()
		}
		if failures == 1 && err != nil && !lacks && !errors.Is(err, io.EOF) {
			b.node.Logger().Warn("pubsub: a publisher is lost to a subscription; trying again", "topic", b.name, "publisher", m.id, "error", err)
		}
		if !b.pause(failures, err) {
			return
		}
	}
}

// final reports whether a retry cannot help against an error.
func final(err error) bool {
	switch link.CodeOf(err) { //nolint:exhaustive // the others pass
	case link.PermissionDenied, link.InvalidArgument:
		return true
	}
	return errors.Is(err, errCodec)
}

// outside reports whether a peer is outside of the node's trust domain.
func outside(node *link.Node, peer link.Peer) bool {
	return peer.Identity.TrustDomain() != node.Identity().TrustDomain()
}

// errCodec reports a publisher whose messages this node cannot decode.
var errCodec = errors.New("the codecs of publisher and subscriber differ")

// Bounds of the backoff before a lost publisher is connected to again. The transport has
// its own, longer backoff between dials.
const (
	rejoinLeast = 50 * time.Millisecond
	rejoinMost  = 5 * time.Second
	// askAgain is the longest backoff for a node that has no publisher yet.
	askAgain = time.Second
)

// rejoinPause returns the backoff after that many failures in a row, the last of which was err.
// The backoff is exponential with up to half of it as jitter, so that subscribers that lost a
// publisher at the same time do not all come back to it at the same time.
func rejoinPause(failures int, err error) time.Duration {
	most := rejoinMost
	if errors.Is(err, link.Unimplemented) {
		most = askAgain
	}
	pause := min(rejoinLeast<<min(failures-1, 10), most)
	return pause - rand.N(pause/2) //nolint:gosec // a draw of lots, not a secret
}

func (b *inbox) pause(failures int, err error) bool {
	t := time.NewTimer(rejoinPause(failures, err))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-b.ctx.Done():
		return false
	}
}

// listen makes one connection to a publisher and receives from it until it ends.
func (b *inbox) listen(m *member) error {
	ask := m.ask()
	ask.Young = ask.Durable && ask.Start != startAt && time.Since(b.began) < DurableKept && !b.heardBefore(m)
	to := intake{box: b, member: m, ask: ask, switched: b.switchTo(m, ask)}
	if h := b.rules.hub.Load(); h != nil && m.id == b.node.Instance() {
		return h.attendLocally(b.ctx, ask, to)
	}
	// ctx outlasts the subscription, so that its end can be sent to the publisher.
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.ctx))
	defer cancel()
	opening := context.AfterFunc(b.ctx, cancel)
	shares := lane.SharesOf(b.node)
	st, credit, err := shares.Open(ctx, b.node, route(m.service), m.id)
	if err != nil {
		return err
	}
	defer shares.Leave(m.id)
	defer st.Close()
	if err := m.place.Check(st, b.publishers()); err != nil {
		return err
	}
	answer, err := begin(st, ask)
	if err != nil {
		return err
	}
	if mine := b.node.Codec(); answer.Codec != mine.ID() {
		return link.Errorf(link.FailedPrecondition, "subscribe to %s: %w: %s encodes with codec %d, this node speaks %s (%d); give both the same Config.Codec",
			b.name, errCodec, st.Peer(), answer.Codec, mine.Name(), mine.ID())
	}
	grant := func(frames, bytes int) {
		// A stream that has ended needs no credit. If other streams took all the credit of
		// the connection, this stream would stall, and a new one gets its share.
		if err := st.Grant(frames, bytes); errors.Is(err, link.ResourceExhausted) {
			st.Close()
		}
	}
	rest, quit := context.WithCancel(b.ctx)
	defer quit()
	cut := func() { quit(); st.Close() }
	c := to.joined(&conn{peer: st.Peer(), foreign: outside(b.node, st.Peer()), credit: credit, cut: cut, reuse: st.Recycle, grant: grant}, answer)
	say := func(v *verdict) error {
		f, err := frame(kindVerdict, v)
		if err == nil {
			err = st.Send(f)
		}
		return err
	}
	wait := to.judging(ctx, c, say)
	defer func() { cancel(); wait() }()
	if !opening() {
		return context.Cause(b.ctx)
	}
	leaving := b.leaving(func() {
		wait()
		m.lastWords(say, b.forgets.Load())
		// CloseSend fails only if the stream has ended.
		_ = st.CloseSend()
	}, cancel)
	defer leaving()
	all := lane.PartsOf(b.node)
	room := all.Of(st.Peer())
	defer room.Release()
	turn := lane.Turn{Parts: all, Room: room, Size: maxRecords}
	defer turn.End()
	// While a part waits for its turn, the pulse tells the publisher that this subscriber is not stuck.
	turn.Waits = func() { c.inLine.Store(true); c.pulse.arm() }
	parts := lane.Joiner{Most: maxRecords}
	in := arrivals{stream: st, others: b.others, room: b.rules.unheard.Holder(lane.KeyOf(st.Peer()))}
	defer in.drop()
	for {
		f, err := in.next()
		switch {
		case err != nil:
			return err
		case f.Kind == kindPart:
			err := in.await(rest, &turn, &f)
			if c.inLine.Store(false); err != nil {
				return err
			}
			if err := parts.Part(f.Body); err != nil {
				return err
			}
			c.grant(1, len(f.Body))
			continue
		case f.Kind == kindLast:
			err = to.take(ctx, &frames{conn: c, body: f.Body}, &in)
		case f.Kind == kindTopics:
			var say published
			if err = parse(f, kindTopics, &say); err == nil {
				err = say.check()
			}
			if err == nil {
				to.published(&say)
			}
		case f.Kind != kindRecords:
			// A later version of the protocol may send other kinds.
			continue
		case f.Credited:
			body := parts.Whole(f.Body)
			turn.End()
			err = to.take(ctx, &frames{conn: c, body: body, owed: len(f.Body)}, &in)
		default:
			to.note(&frames{conn: c, body: f.Body})
		}
		if err != nil && b.ctx.Err() == nil {
			return err
		}
	}
}

// leaveTime is how long a publisher has to end the stream of a subscription that ends;
// then the stream is cut.
const leaveTime = time.Second

// leaving calls leave when the subscription ends, and cut leaveTime later if the publisher
// has not ended the stream by then. Done waits for leave, or keeps it from being called.
func (b *inbox) leaving(leave, cut func()) (done func()) {
	left := make(chan *time.Timer, 1)
	stop := context.AfterFunc(b.ctx, func() {
		late := time.AfterFunc(leaveTime, cut)
		leave()
		left <- late
	})
	return func() {
		if !stop() {
			cut()
			(<-left).Stop()
		}
	}
}

// maxRecords bounds a frame that comes in parts: the longest record that a log takes, and
// one frame.
const maxRecords = journal.DefaultMaxMessage + lane.MaxFrame

// begin sends the subscription on a stream and returns the publisher's answer.
func begin(st *link.Stream, ask *subscribe) (*subscribed, error) {
	f, err := frame(kindSubscribe, ask)
	if err != nil {
		return nil, err
	}
	if err := st.Send(f); err != nil {
		// If the publisher refused the stream before that, Recv returns the reason.
		if _, why := st.Recv(); why != nil {
			return nil, why
		}
		return nil, err
	}
	if f, err = st.Recv(); err != nil {
		return nil, err
	}
	var answer subscribed
	if err := parse(f, kindSubscribed, &answer); err != nil {
		return nil, err
	}
	return &answer, nil
}
