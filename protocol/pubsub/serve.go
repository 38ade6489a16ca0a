package pubsub

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

const (
	// frameBytes and frameMessages bound what is written at once.
	frameBytes    = 60 << 10
	frameMessages = 1024
)

// serve answers one subscription until either side ends it.
func (h *hub) serve(ctx context.Context, st *link.Stream) error {
	first, err := st.Recv()
	if err != nil {
		return err
	}
	var ask subscribe
	if err := parse(first, kindSubscribe, &ask); err != nil {
		return err
	}
	peer := st.Peer()
	if allow := h.allow.Load(); allow != nil {
		for _, pattern := range ask.Patterns {
			if err := (*allow)(peer, pattern); err != nil {
				return link.Errorf(link.PermissionDenied, "%s may not subscribe to %q: %w", peer.Service(), pattern, err)
			}
		}
	}
	if err := h.admit(peer.Identity.String()); err != nil {
		return err
	}
	defer h.release(peer.Identity.String())
	cursor, resumed, err := h.open(&ask, peer)
	if err != nil {
		return err
	}
	s := newSession(h, st, cursor, &ask)
	h.join(s)
	defer h.leave(s)
	defer func() {
		if errors.Is(err, errUnsubscribed) {
			cursor.Close(time.Now())
		} else {
			cursor.Detach(time.Now())
		}
	}()
	answer, err := frame(kindSubscribed, subscribed{Epoch: h.log.Epoch(), Live: cursor.Live(), Resumed: resumed})
	if err == nil {
		err = st.Send(answer)
	}
	if err == nil {
		err = s.run(ctx)
	}
	if errors.Is(err, errUnsubscribed) || errors.Is(err, errDrained) {
		return nil
	}
	return err
}

// open makes the cursor of a subscription, or finds that of its session.
func (h *hub) open(ask *subscribe, peer link.Peer) (*journal.Cursor, bool, error) {
	now := time.Now()
	if ask.Session != "" {
		// A session belongs to the identity that began it.
		ask.Session = peer.Identity.String() + " " + ask.Session
		if cursor, err := h.log.Resume(ask.Session, now); err == nil {
			return cursor, true, nil
		}
	}
	want, err := ask.subscription()
	if err != nil {
		return nil, false, err
	}
	cursor, err := h.log.Subscribe(want, now)
	if err != nil {
		return nil, false, link.Errorf(link.InvalidArgument, "subscribe: %w", err)
	}
	return cursor, false, nil
}

var (
	errUnsubscribed = errors.New("the subscriber ended the subscription")
	errDrained      = errors.New("the publisher drains")
)

// run writes and reads until one of both ends, or the subscriber is stuck.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- s.write(ctx) }() // the end of the stream, which follows that of run, ends both
	go func() { ended <- s.read() }()
	watch := time.NewTicker(time.Second)
	defer watch.Stop()
	var err error
	for err == nil {
		select {
		case err = <-ended:
		case now := <-watch.C:
			s.hub.keepTime(now)
			if since := s.sending.Load(); since != 0 && now.UnixNano()-since >= int64(StuckTime) {
				err = link.Errorf(link.ResourceExhausted, "the subscriber took nothing for %v while messages waited; subscribe again to go on", StuckTime)
			}
		}
	}
	return err
}

// write sends what the cursor has, in as few frames as the subscriber's pace allows.
func (s *session) write(ctx context.Context) error {
	buf := make([]byte, 0, frameBytes+4096)
	timer := time.NewTimer(HeartbeatEvery)
	defer timer.Stop()
	for {
		head := s.hub.appended.Load()
		body, _, more, err := s.cursor.Fill(buf[:0], frameBytes, frameMessages, time.Now())
		if len(body) > 0 {
			if err := s.send(body); err != nil {
				return err
			}
			buf = body
		}
		s.progress(head, len(body), more)
		if err != nil {
			if behind, ok := errors.AsType[*journal.TooFarBehindError](err); ok {
				return link.Errorf(link.OutOfRange, "%w", behind)
			}
			return link.Errorf(link.Unavailable, "%w", err)
		}
		if more {
			continue
		}
		if err := s.idle(ctx, timer); err != nil {
			return err
		}
	}
}

func (s *session) send(body []byte) error {
	s.sending.Store(time.Now().UnixNano())
	defer s.sending.Store(0)
	return s.stream.Send(link.Frame{Kind: kindRecords, Credited: true, Body: body})
}

// idle waits until there is something to write.
func (s *session) idle(ctx context.Context, timer *time.Timer) error {
	wait := HeartbeatEvery
	if at, ok := s.cursor.Deadline(); ok {
		wait = min(wait, max(time.Until(at), 0))
	}
	timer.Reset(wait)
	select {
	case <-s.cursor.Ready():
		return nil
	case <-timer.C:
		if wait < HeartbeatEvery {
			return nil
		}
		// It takes no credit: a subscriber that reads nothing owes nothing for it.
		if body := s.cursor.Mark(nil); len(body) > 0 {
			return s.stream.Send(link.Frame{Kind: kindRecords, Body: body})
		}
		return nil
	case <-s.stream.Draining():
		return errDrained // what was published has been written
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// read takes what the subscriber says of messages, until it ends the stream.
func (s *session) read() error {
	for {
		f, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return errUnsubscribed
		}
		if err != nil {
			return err
		}
		var v verdict
		if err := parse(f, kindVerdict, &v); err != nil {
			return err
		}
		if err := s.apply(&v); err != nil {
			return link.Errorf(link.InvalidArgument, "%w", err)
		}
	}
}

func (s *session) apply(v *verdict) error {
	now := time.Now()
	if len(v.Acks)%2 != 0 || len(v.Nacks)%2 != 0 {
		return errors.New("a verdict with half a pair")
	}
	if v.Credit > 0 {
		s.cursor.SetCredit(v.Credit, now)
	}
	for i := 0; i < len(v.Acks); i += 2 {
		if _, err := s.cursor.Ack(now, journal.Range{From: v.Acks[i], To: v.Acks[i+1]}); err != nil {
			return err
		}
	}
	for i := 0; i < len(v.Nacks); i += 2 {
		delay := time.Duration(-1)
		if d := v.Nacks[i+1]; d > 0 {
			delay = time.Duration(min(d-1, 1<<40)) * time.Microsecond
		}
		if err := s.cursor.Nack(now, v.Nacks[i], delay, v.Cause); err != nil {
			return err
		}
	}
	for _, seq := range v.Releases {
		if err := s.cursor.Release(now, seq); err != nil {
			return err
		}
	}
	if len(v.Extends) > 0 {
		return s.cursor.Extend(now, v.Extends...)
	}
	return nil
}
