package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/wire"
)

// Listen begins to accept connections. It returns at once.
func (e *Endpoint) Listen() error {
	// ALPN is checked here and not by NextProtos alone, so that a node with
	// another version of link is told, over a verified connection, which version
	// this one speaks. Any other node gets no_application_protocol.
	base := e.cfg.ServerTLS(e.cfg.Protocol)
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		conf := e.cfg.ServerTLS(e.chooseProtocol(hello.SupportedProtos))
		if h := handshakeOf(hello.Context()); h != nil {
			h.own.watch(conf)
		}
		return conf, nil
	}
	l, err := e.quic.Listen(base)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", e.Addr(), err)
	}
	e.listener.Store(l)
	if !e.group.Go(func(ctx context.Context) { e.accept(ctx, l) }) {
		return &Error{Reason: ReasonClosed, Err: ErrClosed}
	}
	return nil
}

func (e *Endpoint) chooseProtocol(offered []string) string {
	other := e.cfg.Protocol
	for _, p := range offered {
		if p == e.cfg.Protocol {
			return p
		}
		if strings.HasPrefix(p, "link/") {
			other = p
		}
	}
	return other
}

// accept only hands connections over, because a listener refuses connections while
// its short queue is full.
func (e *Endpoint) accept(ctx context.Context, l *quicconn.Listener) {
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			return
		}
		handshakeDone(conn.Context())
		if !e.group.Go(func(context.Context) { e.receive(conn) }) {
			conn.Close(wire.CodeGoingAway, "node closed")
		}
	}
}

// receive finds out who is at the other side of an accepted connection, and serves it.
func (e *Endpoint) receive(conn quicconn.Conn) {
	state := conn.TLS()
	if p := state.NegotiatedProtocol; p != e.cfg.Protocol {
		e.refuse(conn, wire.CodeIncompatible, refusedVersion, foreign.Text(fmt.Sprintf("the peer speaks %.64s, this node speaks %s", p, e.cfg.Protocol)))
		return
	}
	who, err := e.cfg.Identify(state, ownOf(conn.Context()))
	if err != nil {
		e.refuse(conn, wire.CodeUnauthenticated, refusedUnidentified, "no identity: "+err.Error())
		return
	}
	e.serve(conn, who)
}

// refuse closes an accepted connection that is not served.
func (e *Endpoint) refuse(conn carrier.Conn, code wire.Code, why, text string) {
	e.refusals.note(why, conn.RemoteAddr().String(), text, time.Now())
	conn.Close(code, text)
}

// serve runs an accepted connection of a known peer to its end.
func (e *Endpoint) serve(conn carrier.Conn, who Identity) {
	s := e.newSession(conn, who, nil)
	if err := s.admitIdentity(time.Now()); err != nil {
		s.group.Stop(ErrClosed)
		s.disown()
		e.refuse(conn, wire.CodeOverloaded, refusedPaused, err.Error())
		return
	}
	if !e.admitSession(s) {
		s.group.Stop(ErrClosed)
		s.disown()
		e.refuse(conn, wire.CodeOverloaded, refusedOverload, "too many connections; see Limits.ConnsPerIdentity and ConnsPerProcess")
		return
	}
	defer s.finish()
	setup, routes := e.cfg.Setup()
	if e.drain.begun.Load() {
		setup.State = wire.StateDraining
	}
	if err := s.open(&setup, routes); err != nil {
		s.close(wire.CodeInternal, "no CONTROL stream")
		return
	}
	s.catchUp(&setup)
	// A drain may have begun after Setup was called.
	if e.drain.begun.Load() {
		s.announceDrain(wire.MaxVarint)
	}
	s.group.Go(s.acceptUni)
	timeout := time.NewTimer(e.limits.Handshakes.SetupTimeout)
	defer timeout.Stop()
	select {
	case <-s.remote.ready:
		s.acceptCalls()
	case <-timeout.C:
		s.close(wire.CodeProtocol, lateSetup)
	case <-s.Done():
	}
}

// acceptCalls accepts and serves the peer's streams until the connection ends.
func (s *Session) acceptCalls() {
	for {
		stream, err := s.conn.Accept(s.ctx)
		if err != nil {
			return
		}
		s.serving.lastID.Store(stream.ID())
		if err := s.shares.streams.Take(1); err != nil {
			s.noteShed("Streams.PerProcess", "streams exceed Limits.Streams.PerProcess: "+err.Error())
			stream.CancelRead(wire.CodeOverloaded)
			stream.CancelWrite(wire.CodeOverloaded)
			cost := 0
			if s.refusal(costWasted) {
				cost = costWasted
			}
			s.giveCredit(stream, cost)
			continue
		}
		serve := func(context.Context) {
			defer s.shares.streams.Give(1)
			s.serveStream(stream)
		}
		if !s.group.Go(serve) {
			s.shares.streams.Give(1)
			return
		}
	}
}
