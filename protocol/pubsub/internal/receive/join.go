package receive

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/protocol/internal/fleet"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
)

// attendance is how the subscription keeps a connection to each publisher.
func (b *Inbox) attendance() fleet.Config[*Member] {
	return fleet.Config[*Member]{
		// The publisher of a member that vanishes ends the stream itself, after its last message.
		Lock: &b.mu, Attend: b.attend, Judge: b.judge, Part: b.partLocked, End: b.ended,
	}
}

// errNoTurn reports that a member has not connected to its publisher, because that left while the
// member waited for its turn.
var errNoTurn = errors.New("the publisher left before it was listened to")

// attend connects to a publisher once, when it is its turn, and stays until the connection ends and all
// that came on it is in the inbox.
func (b *Inbox) attend(_ context.Context, m *Member) error {
	if !b.takeTurn(m) {
		return errNoTurn
	}
	err := b.listen(m) //nolint:contextcheck // the context of the fleet is that of the subscription
	b.giveTurn()
	m.lost(err)
	if errors.Is(err, errUnheard) && b.ctx.Err() == nil {
		b.unheard(m, err)
	}
	return err
}

// judge decides when a publisher is connected to again, and whether.
func (b *Inbox) judge(m *Member, err error, failures int) fleet.Verdict {
	switch {
	case errors.Is(err, errNoTurn):
		// The publisher has come back.
		return fleet.Verdict{AtOnce: true}
	case err != nil && final(err):
		link.HostOf(b.conf.Node).Logger().Warn("pubsub: a publisher refuses a subscription", "topic", b.conf.Topic, "publisher", m.ID, "error", err)
		b.refuse(err)
		return fleet.Verdict{Stop: true}
	case errors.Is(err, link.ErrProcessGone):
		// The process is gone even if discovery still shows it.
		b.gone(m)
	}
	// A node that lacks a publisher may get one later. Subscribe does not wait for it.
	lacks := errors.Is(err, link.Unimplemented)
	if lacks {
		m.waits()
		m.settle()
	}
	if failures == 1 && err != nil && !lacks && !errors.Is(err, io.EOF) {
		link.HostOf(b.conf.Node).Logger().Warn("pubsub: a publisher is lost to a subscription; trying again", "topic", b.conf.Topic, "publisher", m.ID, "error", err)
	}
	return fleet.Verdict{Pauses: pausesAfter(err)}
}

// ended is called when a member is attended no more. The subscription ends when the last publisher has
// refused it.
func (b *Inbox) ended(m *Member, end fleet.End) {
	switch {
	case end.Vanished:
		b.gone(m)
	case end.Err != nil && end.Left == 0:
		b.cancel(end.Err)
	}
	m.settle()
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

// askAgain is the longest pause before a node is asked again that has no publisher yet.
const askAgain = time.Second

// pausesAfter returns the pauses before a publisher is connected to again whose connection ended with
// err.
func pausesAfter(err error) backoff.Backoff {
	pauses := fleet.Rejoin()
	if errors.Is(err, link.Unimplemented) {
		pauses.Most = askAgain
	}
	return pauses
}

// listen makes one connection to a publisher and lasts as long as that does. What comes on it goes into
// the inbox without this goroutine; see [arrivals].
func (b *Inbox) listen(m *Member) error {
	ask := m.ask()
	ask.Young = ask.Durable && ask.Start != frame.StartAt && time.Since(b.began) < frame.DurableKept && !b.heardBefore(m)
	to := intake{box: b, member: m, ask: ask, switched: b.switchTo(m, ask)}
	if m.ID == b.conf.Node.Instance() {
		if p := b.conf.Own(); p != nil {
			return b.listenHere(p, to)
		}
	}
	// ctx outlasts the subscription, so that its end can be sent to the publisher.
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.ctx))
	defer cancel()
	opening := context.AfterFunc(b.ctx, cancel)
	shares := flow.SharesOf(b.conf.Node)
	st, credit, err := shares.Open(ctx, b.conf.Node, frame.Route(m.Service), m.ID)
	if err != nil {
		return err
	}
	defer shares.Leave(m.ID)
	defer st.Close()
	if err := b.members.Check(m, st); err != nil {
		return err
	}
	answer, err := begin(st, ask)
	if err != nil {
		return err
	}
	if mine := link.HostOf(b.conf.Node).Codec(); answer.Codec != mine.ID() {
		return link.Errorf(link.FailedPrecondition, "subscribe to %s: %w: %s encodes with codec %d, this node speaks %s (%d); give both the same Config.Codec",
			b.conf.Topic, errCodec, st.Peer(), answer.Codec, mine.Name(), mine.ID())
	}
	rest, quit := context.WithCancel(b.ctx)
	defer quit()
	cut := func() { quit(); st.Close() }
	grants := flow.Credit{Stream: lender{st}, Credit: credit}
	c := to.joined(&Conn{Peer: st.Peer(), Foreign: outside(b.conf.Node, st.Peer()), grants: grants, cut: cut, reuse: st.Recycle}, answer)
	say := func(v *frame.Verdict) error {
		f, err := frame.Encode(frame.KindVerdict, v)
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
	all := flow.PartsOf(b.conf.Node)
	room := all.Of(st.Peer())
	defer room.Release()
	in := newArrivals(to, c, st, flow.Turn{Parts: all, Room: room, Size: maxRecords})
	st.Deliver(in.take, in.end)
	return in.run(rest)
}

// leaveTime is how long a publisher has to end the stream of a subscription that ends;
// then the stream is cut.
const leaveTime = time.Second

// leaving calls leave when the subscription ends, and cut leaveTime later if the publisher
// has not ended the stream by then. Done waits for leave, or keeps it from being called.
func (b *Inbox) leaving(leave, cut func()) (done func()) {
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

// begin sends the subscription on a stream and returns the publisher's answer.
func begin(st *link.Stream, ask *frame.Subscribe) (*frame.Subscribed, error) {
	f, err := frame.Encode(frame.KindSubscribe, ask)
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
	var answer frame.Subscribed
	if err := frame.Decode(f, frame.KindSubscribed, &answer); err != nil {
		return nil, broken(err)
	}
	return &answer, nil
}
