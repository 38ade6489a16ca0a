package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// streamSink is the stream to a subscriber on another node.
type streamSink struct {
	stream *link.Stream
	size   int // bytes of a frame
}

// Send cuts a body that is longer than a frame into parts.
func (s streamSink) Send(ctx context.Context, body []byte, moved func()) error {
	for ; len(body) > s.size; body = body[s.size:] {
		if err := s.one(ctx, frame.KindPart, body[:s.size]); err != nil {
			return err
		}
		moved()
	}
	return s.one(ctx, frame.KindRecords, body)
}

// one sends a credited frame, unless ctx ends while it waits for credit.
func (s streamSink) one(ctx context.Context, kind uint8, body []byte) error {
	if err := s.stream.Await(ctx, len(body)); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return s.stream.Send(link.Frame{Kind: kind, Credited: true, Body: body})
}

func (s streamSink) Note(body []byte) error {
	return s.stream.Send(link.Frame{Kind: frame.KindRecords, Body: body})
}

func (s streamSink) Last(body []byte) error {
	return s.stream.Send(link.Frame{Kind: frame.KindLast, Body: body})
}

func (s streamSink) Topics(say *frame.Published) error {
	f, err := frame.Encode(frame.KindTopics, say)
	if err != nil {
		return err
	}
	return s.stream.Send(f)
}

func (s streamSink) Size() int                 { return s.size }
func (s streamSink) Draining() <-chan struct{} { return s.stream.LastCall() }
func (s streamSink) Ended() <-chan struct{}    { return s.stream.Context().Done() }

// serve answers one subscription until either side ends it.
func (h *Hub) serve(ctx context.Context, st *link.Stream) error {
	first, err := st.Recv()
	if err != nil {
		return err
	}
	wish, err := frame.ParseWish(first)
	if err != nil {
		return err
	}
	peer := st.Peer()
	if err := h.mayRead(peer, wish); err != nil {
		return err
	}
	release, err := h.admit(peer)
	if err != nil {
		return err
	}
	defer release()
	ask, err := frame.ParseSubscribe(first, wish)
	if err != nil {
		return err
	}
	_, credit := st.Credit()
	s, answer, err := h.open(streamSink{st, flow.FrameFor(credit)}, ask, peer)
	if err != nil {
		return err
	}
	h.join(s)
	defer h.leave(s)
	defer func() { s.finish(err) }()
	f, err := frame.Encode(frame.KindSubscribed, answer)
	if err == nil {
		err = st.Send(f)
	}
	if err == nil {
		err = s.run(ctx, func() error { return s.read(st) })
	}
	if errors.Is(err, errUnsubscribed) || errors.Is(err, errDrained) {
		return nil
	}
	return err
}

// open makes the session of a subscription, with a new cursor, or with the cursor of an
// earlier session that it resumes.
func (h *Hub) open(out frame.Sink, ask *frame.Subscribe, peer link.Peer) (*session, frame.Subscribed, error) {
	now := time.Now()
	answer := frame.Subscribed{Epoch: h.log.Epoch(), Codec: link.HostOf(h.node).Codec().ID()}
	if !foreign.Clean(ask.Session) || !foreign.Clean(ask.Group) {
		return nil, answer, link.Errorf(link.InvalidArgument, "subscribe: the session %q or the group %q has a character that does not print", ask.Session, ask.Group)
	}
	if ask.Session != "" {
		ask.Session = sessionOf(ask, peer)
		cursor, err := h.log.Resume(ask.Session, ask.Holder, ask.Told, now)
		switch {
		case err == nil:
			answer.Live, answer.Resumed = cursor.Live(), true
			return newSession(h, out, cursor, ask, peer), answer, nil
		case errors.Is(err, journal.ErrHeld):
			return nil, answer, link.Errorf(link.Unavailable, "subscribe: another subscription of %s has this durable name, and is connected; give each a name of its own, or wait until it ends", peer.Service())
		}
	}
	want, err := ask.Subscription()
	if err != nil {
		return nil, answer, err
	}
	if h.mayHaveKnown(ask) {
		answer.Anew, want.Start = true, want.Start.Anew()
	}
	want.Who = flow.KeyOf(peer)
	if ask.Session != "" {
		if want.Ended, err = h.takeSession(peer, ask.Durable); err != nil {
			return nil, answer, err
		}
	}
	cursor, err := h.log.Subscribe(want, now)
	if err != nil {
		if want.Ended != nil {
			want.Ended()
		}
		return nil, answer, link.Errorf(subscribeCode(err), "subscribe: %w", err)
	}
	answer.Live = cursor.Live()
	return newSession(h, out, cursor, ask, peer), answer, nil
}

// mayHaveKnown reports whether an earlier run of this publisher may have kept a place for a
// durable name that this run does not know. Places are kept for frame.DurableKept: a run of that
// age knows all of them, and a subscription of that age was told of the end of earlier runs.
func (h *Hub) mayHaveKnown(ask *frame.Subscribe) bool {
	return ask.Durable && ask.Young && ask.Start != frame.StartAt && h.since() < frame.DurableKept
}

// sessionOf returns the name of a session in the log. The name depends on the identity that
// began the session and on what it asked for, so that a peer cannot resume a session for
// something that it may no longer ask for.
func sessionOf(ask *frame.Subscribe, peer link.Peer) string {
	h := sha256.New()
	for _, s := range slices.Concat([]string{peer.Identity.String(), fmt.Sprint(ask.Durable), ask.Session, ask.Group}, ask.Patterns, []string{""}, ask.Keys) {
		_, _ = fmt.Fprintf(h, "%d %s", len(s), s) // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

// subscribeCode returns ResourceExhausted for the error of a full log, and InvalidArgument
// for the error of an invalid subscription.
func subscribeCode(err error) link.Code {
	if limit, ok := errors.AsType[*journal.LimitError](err); ok && limit.Shared {
		return link.ResourceExhausted
	}
	return link.InvalidArgument
}

// read applies the verdicts of the subscriber until it ends the stream.
func (s *session) read(st *link.Stream) error {
	for {
		f, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return errUnsubscribed
		}
		if err != nil {
			return err
		}
		var v frame.Verdict
		if err := frame.Decode(f, frame.KindVerdict, &v); err != nil {
			return err
		}
		if err := s.apply(&v); err != nil {
			return link.Errorf(link.InvalidArgument, "%w", err)
		}
	}
}
