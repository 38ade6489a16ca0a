package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// controlQueue is how many bytes may wait on CONTROL for the peer to read.
const controlQueue = 64 << 10

// controlWriter writes our CONTROL stream. It never blocks: frames that the peer has no
// room for are queued, because messages may fill the connection for a while. A peer
// that does not read its CONTROL stream is disconnected.
type controlWriter struct {
	session *Session

	mu     sync.Mutex // guards the fields below
	stream carrier.Sender
	// queue holds the frames behind those that are being written.
	queue []byte
	// writing is set while a goroutine writes.
	writing bool
}

// send sends the frames that appendFrames appends. It does nothing before CONTROL is open.
func (c *controlWriter) send(appendFrames func([]byte) []byte) {
	c.mu.Lock()
	// Before CONTROL is open, SETUP will say what the frames would.
	if c.stream == nil {
		c.mu.Unlock()
		return
	}
	c.queue = appendFrames(c.queue)
	full := len(c.queue) > controlQueue
	if !c.writing && !full {
		b := c.queue
		c.queue, c.writing = nil, true
		c.session.group.Go(func(context.Context) { c.write(b) })
	}
	c.mu.Unlock()
	if full {
		c.session.close(wire.CodeLimit, "the peer does not read CONTROL")
	}
}

// write writes b and the frames that are queued meanwhile.
func (c *controlWriter) write(b []byte) {
	for len(b) > 0 {
		// Write fails if the connection ended or the peer stopped reading. Frames then pile up
		// until the queue is full.
		if _, err := c.stream.Write(b); err != nil {
			return
		}
		c.mu.Lock()
		b, c.queue = c.queue, nil
		c.writing = len(b) > 0
		c.mu.Unlock()
	}
}

// open opens our CONTROL stream and sends SETUP and ROUTES.
func (s *Session) open(setup *wire.Setup, routes []wire.RouteInfo) error {
	stream, err := s.conn.OpenControl()
	if err != nil {
		return err
	}
	b := wire.AppendSetup(wire.AppendVarint(nil, uint64(wire.StreamControl)), setup)
	first := uint64(0)
	for len(routes) > 0 {
		n := min(len(routes), 128)
		b = wire.AppendRoutes(b, &wire.Routes{First: first, Routes: routes[:n]})
		routes, first = routes[n:], first+uint64(n)
	}
	c := &s.control
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.stream, c.writing = s, stream, true
	s.group.Go(func(context.Context) { c.write(b) })
	return nil
}

// announceRoutes tells the peer of routes that were added after SETUP.
func (s *Session) announceRoutes(first uint64, routes []wire.RouteInfo) {
	s.control.send(func(b []byte) []byte { return wire.AppendRoutes(b, &wire.Routes{First: first, Routes: routes}) })
}

// hearTags stores the peer's tags and passes them to PeerConfig.Tags.
func (s *Session) hearTags(tags *[]string) {
	s.remote.tags.Store(tags)
	p := s.dialedAs
	if p == nil {
		return
	}
	p.said.Store(tags)
	if hear := p.conf.Load().Tags; hear != nil {
		hear(p.key.addr, *tags)
	}
}

// A peer announces new tags as often as its probes flip them. A peer that does so
// more often than once in tagsEvery, beyond a burst of tagsBurst, is disconnected:
// its peers have to evaluate each announcement.
const (
	tagsEvery = time.Second
	tagsBurst = 64
)

// A peer sends little on CONTROL: PING when it hears nothing, TAGS, and the few frames of a
// drain. A peer that sends more than controlRate frames per second, beyond a burst of
// controlBurst, is disconnected: a frame costs more to read than to write. ROUTES of a
// server have bounds of their own.
const (
	controlRate  = 64
	controlBurst = 1024
)

// announceTags tells the peer that the node's tags have changed since SETUP.
func (s *Session) announceTags(tags []string) {
	s.control.send(func(b []byte) []byte { return wire.AppendTags(b, &wire.Tags{Tags: tags}) })
}

// catchUp tells the peer what changed between the call of Config.Setup and the opening of
// CONTROL.
func (s *Session) catchUp(setup *wire.Setup) {
	if tags := s.endpoint.tags.Load(); tags != nil && !slices.Equal(*tags, setup.Tags) {
		s.announceTags(*tags)
	}
}

// acceptUni accepts the peer's unidirectional streams: one CONTROL, and streams of unknown
// types, which it ignores and which count toward the rate of frames on CONTROL.
func (s *Session) acceptUni(ctx context.Context) {
	var hasControl bool
	for {
		stream, err := s.conn.AcceptUni(ctx)
		if err != nil {
			return
		}
		fr := newFrameReader(stream, &s.endpoint.limits, nil, true)
		kind, err := fr.streamType()
		switch {
		case err != nil:
			s.close(wire.CodeProtocol, "a unidirectional stream has no type")
			return
		case kind != wire.StreamControl && !s.remote.controlRate.Allow():
			s.close(wire.CodeLimit, "too many unidirectional streams of an unknown type")
			return
		case kind != wire.StreamControl:
			stream.CancelRead(wire.CodeIgnored)
			stream.ReleaseCredit()
		case hasControl:
			s.close(wire.CodeProtocol, "second CONTROL stream")
			return
		default:
			hasControl = true
			s.group.Go(func(context.Context) { s.readControl(&fr) })
		}
	}
}

// streamType reads the varint that a stream starts with.
func (f *frameReader) streamType() (wire.StreamType, error) {
	if f.guard {
		f.guarded = true
		if err := f.src.SetReadDeadline(time.Now().Add(f.limits.Streams.FirstHeader)); err != nil {
			return 0, err
		}
	}
	for {
		v, n, err := wire.ParseVarint(f.buf[f.r:f.w])
		if err == nil {
			f.r += n
			return wire.StreamType(v), nil
		}
		if err := f.fill(); err != nil {
			return 0, unexpected(err)
		}
	}
}

// readControl reads the peer's CONTROL stream to its end, which ends the
// connection.
func (s *Session) readControl(fr *frameReader) {
	err := s.readControlFrames(fr)
	if s.hasEnded(err) || s.ended() {
		return
	}
	reason := "CONTROL stream ended"
	if !errors.Is(err, io.EOF) {
		reason = err.Error()
	}
	s.endpoint.log.Warn("link: closing connection: "+reason, "peer", s.remoteAddr)
	s.close(wire.CodeProtocol, reason)
}

var errControlFlood = errors.New("too many frames on CONTROL")

func (s *Session) readControlFrames(fr *frameReader) error {
	for first := true; ; first = false {
		h, err := fr.header()
		if err != nil {
			return err
		}
		if h.Length > wire.MaxControl {
			return &wire.LimitError{What: "control frame", Limit: wire.MaxControl, Got: h.Length}
		}
		if first != (h.Kind == wire.KindSetup) {
			return &wire.SyntaxError{What: "CONTROL", Reason: "SETUP is not the first frame and the only one"}
		}
		if (h.Kind != wire.KindRoutes || !s.dialed) && !s.remote.controlRate.Allow() {
			s.close(wire.CodeLimit, fmt.Sprintf("more than %d frames in a row on CONTROL, at over %d a second", controlBurst, controlRate))
			return errControlFlood
		}
		body, err := fr.body(h.Length)
		if err != nil {
			return err
		}
		if err := s.handleControl(h, body); err != nil {
			return err
		}
	}
}

func (s *Session) handleControl(h wire.FrameHeader, body []byte) error {
	switch h.Kind { //nolint:exhaustive // the other kinds are unknown on CONTROL
	case wire.KindSetup:
		setup, err := wire.ParseSetup(body)
		if err != nil {
			return err
		}
		if setup.Version != 1 {
			s.close(wire.CodeIncompatible, fmt.Sprintf("SETUP of version %d, this node speaks version 1", setup.Version))
			return &wire.SyntaxError{What: "SETUP", Reason: "unknown version"}
		}
		if err := checkNames("SETUP", append(slices.Clip(setup.Tags), setup.Instance)); err != nil {
			return err
		}
		if len(setup.Codecs) == 0 {
			setup.Codecs = []uint64{0} // CBOR
		}
		s.remote.setup = setup
		s.hearTags(&s.remote.setup.Tags)
		if setup.State == wire.StateDraining {
			s.drained()
		}
		s.endpoint.settle(s)
		close(s.remote.ready)
	case wire.KindRoutes:
		// Clients serve nothing here. Routes beyond the bound are called by name.
		if !s.dialed || !s.remote.routes.room(len(body)) {
			return nil
		}
		routes, err := wire.ParseRoutes(body)
		if err != nil {
			return err
		}
		s.remote.routes.add(&routes)
		s.remote.routedOnce.Do(func() { close(s.remote.routed) })
	case wire.KindHealth:
		health, err := wire.ParseHealth(body)
		if err != nil {
			return err
		}
		if health.State == wire.StateDraining {
			s.drained()
		}
	case wire.KindTags:
		tags, err := wire.ParseTags(body)
		if err != nil {
			return err
		}
		if err := checkNames("TAGS", tags.Tags); err != nil {
			return err
		}
		if !s.remote.tagRate.Allow() {
			return &wire.LimitError{What: "TAGS in a row", Limit: tagsBurst, Got: tagsBurst + 1}
		}
		s.hearTags(&tags.Tags)
	case wire.KindGoAway:
		goAway, err := wire.ParseGoAway(body)
		if err != nil {
			return err
		}
		// LastStream never grows.
		if s.dialed && goAway.LastStream < s.goodbye.lastServed.Load() {
			s.goodbye.lastServed.Store(goAway.LastStream)
		}
		reason := foreign.Text(goAway.Reason)
		s.goodbye.why.Store(&reason)
		s.drained()
	case wire.KindPing:
		token, err := wire.ParsePing(body)
		if err != nil {
			return err
		}
		s.control.send(func(b []byte) []byte { return wire.AppendPing(b, wire.KindPong, token) })
	case wire.KindPong:
		// To liveness, the packet that carried the PONG was already a sign of life.
		token, err := wire.ParsePing(body)
		if err != nil {
			return err
		}
		s.ponged(token)
	default:
		if h.Flags&wire.FlagCritical != 0 {
			return &wire.SyntaxError{What: "CONTROL", Reason: "unknown critical frame"}
		}
	}
	return nil
}

// checkNames returns an error if a name has characters that do not print, because names go
// into errors, logs and terminals.
func checkNames(what string, names []string) error {
	for _, name := range names {
		if !foreign.Clean(name) {
			return &wire.SyntaxError{What: what, Reason: fmt.Sprintf("the instance or a tag has a character that does not print: %q", name)}
		}
	}
	return nil
}
