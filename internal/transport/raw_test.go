package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/mtls" //nolint:depguard // as in network_test.go
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/transport/memconn"
	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security" //nolint:depguard // as in network_test.go
)

// raw is one side of a connection, driven byte by byte: an attacker or another implementation.
type raw struct {
	t    *testing.T
	w    *world
	conn carrier.Conn
	// quic is the connection below conn. It is nil in memory.
	quic    *quic.Conn
	control carrier.Sender
	// frames and setup come from the other side's CONTROL stream.
	frames *frames
	setup  wire.Setup
}

// rawConfig returns a config that is generous to the other side, so that only the other side's limits matter.
func rawConfig() *quic.Config {
	return &quic.Config{
		EnableStreamResetPartialDelivery: true,
		MaxIdleTimeout:                   time.Minute,
		MaxIncomingStreams:               100,
	}
}

// rawClient connects to the node as service, without SETUP.
func (w *world) rawClient(service string, to *node) *raw {
	w.t.Helper()
	return w.rawClientWith(service, to, rawConfig())
}

func (w *world) rawClientWith(service string, to *node, config *quic.Config) *raw {
	w.t.Helper()
	if w.inMemory {
		w.mu.Lock()
		w.last++
		addr := &net.UDPAddr{IP: net.IPv4(10, 0, 0, w.last).To4(), Port: 7443}
		w.mu.Unlock()
		conn := to.attach(w.ca.ID(service), rawEnd(addr, config))
		quiesce()
		return &raw{t: w.t, w: w, conn: conn}
	}
	conn, err := w.rawDial(service, to, config)
	if err != nil {
		w.t.Fatalf("dialing: %v", err)
	}
	return w.raw(conn)
}

// raw returns a raw connection over QUIC.
func (w *world) raw(conn *quic.Conn) *raw {
	return &raw{t: w.t, w: w, conn: quicconn.Of(conn), quic: conn}
}

// rawEnd returns the end of a connection in memory that is like one over QUIC with this config.
func rawEnd(addr *net.UDPAddr, config *quic.Config) memconn.End {
	return memconn.End{
		Addr: addr, Streams: int(config.MaxIncomingStreams), Releases: true,
		Window: int(config.InitialConnectionReceiveWindow), StreamWindow: int(config.InitialStreamReceiveWindow),
	}
}

func (w *world) rawDial(service string, to *node, config *quic.Config) (*quic.Conn, error) {
	return w.rawDialTLS(mtls.Client(w.ca.Source(service), to.id, mtls.Protocol), to, config)
}

func (w *world) rawDialTLS(conf *tls.Config, to *node, config *quic.Config) (*quic.Conn, error) {
	tr := &quic.Transport{Conn: w.socket()}
	w.t.Cleanup(func() { _ = tr.Close() }) // a bubble ends only after all its goroutines
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	return tr.Dial(ctx, to.Addr(), conf, config)
}

// client connects to the node as service and exchanges SETUP.
func (w *world) client(service string, to *node) *raw {
	w.t.Helper()
	return w.clientWith(service, to, rawConfig())
}

func (w *world) clientWith(service string, to *node, config *quic.Config) *raw {
	w.t.Helper()
	r := w.rawClientWith(service, to, config)
	r.open(append(controlType(), setupFrame()...))
	r.accept()
	return r
}

// narrow returns a client whose streams have a receive window of window bytes.
func (w *world) narrow(service string, to *node, window uint64) *raw {
	w.t.Helper()
	config := rawConfig()
	config.InitialStreamReceiveWindow, config.MaxStreamReceiveWindow = window, window
	return w.clientWith(service, to, config)
}

// generous returns a client whose receive windows never fill.
func (w *world) generous(service string, to *node) *raw {
	w.t.Helper()
	config := rawConfig()
	config.InitialStreamReceiveWindow, config.MaxStreamReceiveWindow = 1<<40, 1<<40
	config.InitialConnectionReceiveWindow, config.MaxConnectionReceiveWindow = 1<<40, 1<<40
	return w.clientWith(service, to, config)
}

func controlType() []byte { return wire.AppendVarint(nil, uint64(wire.StreamControl)) }

// open opens the CONTROL stream and writes b to it.
func (r *raw) open(b []byte) {
	r.t.Helper()
	r.control = r.openUni(b)
}

func (r *raw) openUni(b []byte) carrier.Sender {
	r.t.Helper()
	s, err := r.conn.OpenControl()
	if err != nil {
		r.t.Fatalf("opening a unidirectional stream: %v", err)
	}
	if _, err := s.Write(b); err != nil {
		r.t.Fatalf("writing a unidirectional stream: %v", err)
	}
	return s
}

// accept takes the other side's CONTROL stream and reads its SETUP.
func (r *raw) accept() {
	r.t.Helper()
	s, err := r.conn.AcceptUni(r.t.Context())
	if err != nil {
		r.t.Fatalf("waiting for CONTROL: %v", err)
	}
	r.frames = &frames{src: s}
	typ, err := r.frames.varint()
	if err != nil || typ != uint64(wire.StreamControl) {
		r.t.Fatalf("type of the first stream: %d, %v; want CONTROL", typ, err)
	}
	h, body, err := r.frames.next()
	if err != nil || h.Kind != wire.KindSetup || h.Flags&wire.FlagCritical == 0 {
		r.t.Fatalf("first frame on CONTROL: %+v, %v; want a critical SETUP", h, err)
	}
	if r.setup, err = wire.ParseSetup(body); err != nil {
		r.t.Fatal(err)
	}
}

// send writes frames to our CONTROL stream.
func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.control.Write(b); err != nil {
		r.t.Fatalf("writing to CONTROL: %v", err)
	}
}

// await returns the body of the next frame of this kind on the other side's CONTROL stream.
func (r *raw) await(kind wire.Kind) []byte {
	r.t.Helper()
	for {
		h, body, err := r.frames.next()
		if err != nil {
			r.t.Fatalf("waiting for a frame of kind %#x on CONTROL: %v", kind, err)
		}
		if h.Kind == kind {
			return body
		}
	}
}

// closed waits for the end of the connection and returns its code and reason.
func (r *raw) closed() (wire.Code, string) {
	r.t.Helper()
	select {
	case <-r.conn.Context().Done():
	case <-time.After(2 * time.Minute):
		r.t.Fatal("the connection was not closed")
	}
	end, ok := errors.AsType[*carrier.EndError](r.conn.Cause())
	if !ok || end.End != carrier.EndClosed {
		r.t.Fatalf("the connection ended with %v, not with an error code", r.conn.Cause())
	}
	return end.Code, end.Reason
}

// stream opens a bidirectional stream and writes b to it.
func (r *raw) stream(b []byte) *rawStream {
	r.t.Helper()
	s, err := r.conn.Open(r.t.Context())
	if err != nil {
		r.t.Fatalf("opening a stream: %v", err)
	}
	st := &rawStream{t: r.t, conn: r, Stream: s, frames: frames{src: s}}
	st.write(b)
	return st
}

// callStream returns the bytes that open a stream of this type and make a call on it.
func callStream(typ wire.StreamType, route string, timeout time.Duration, message string) []byte {
	return append(wire.AppendVarint(nil, uint64(typ)), callFrames(route, timeout, message)...)
}

func callFrames(route string, timeout time.Duration, message string) []byte {
	return append(headers(route, timeout), data(message)...)
}

func headers(route string, timeout time.Duration) []byte {
	return wire.AppendHeaders(nil, &wire.Headers{Route: route, Timeout: uint64(timeout.Microseconds())})
}

// mustEcho makes an honest call over the raw connection, which must work.
func (r *raw) mustEcho() {
	r.t.Helper()
	st := r.stream(callStream(wire.StreamCall, "echo", time.Second, "honest"))
	st.Finish()
	got := st.reply()
	if got.err != nil || got.status.Code != 0 || got.message != "honest" {
		r.t.Fatalf("an honest call: %+v", got)
	}
}

// rawStream is a bidirectional stream of a raw connection.
type rawStream struct {
	carrier.Stream

	t      *testing.T
	conn   *raw
	frames frames
}

func (s *rawStream) write(b []byte) {
	s.t.Helper()
	if _, err := s.Write(b); err != nil {
		s.t.Fatalf("writing to stream %d: %v", s.ID(), err)
	}
}

// rawReply is what a server sent up to and including its STATUS. has means that there was DATA.
type rawReply struct {
	message string
	has     bool
	status  wire.Status
	last    bool
	err     error
}

// reply reads an optional DATA and a STATUS.
func (s *rawStream) reply() (r rawReply) {
	for {
		h, body, err := s.frames.next()
		switch {
		case err != nil:
			r.err = err
			return r
		case h.Kind == wire.KindData:
			r.message, r.has = string(body), true
		case h.Kind == wire.KindStatus:
			r.status, r.err = wire.ParseStatus(body)
			r.last = h.Flags&wire.FlagLast != 0
			return r
		}
	}
}

// ended waits until the other side ends the stream. It returns the code of a reset, or clean if there was a FIN.
func (s *rawStream) ended() (code wire.Code, clean bool) {
	s.t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for {
		_, _, err := s.frames.next()
		var reset *carrier.ResetError
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return 0, true
		case errors.As(err, &reset) && reset.Remote:
			return reset.Code, false
		default:
			s.t.Fatalf("stream %d ended with %v, not with a reset", s.ID(), err)
		}
	}
}

// mustReset waits for a reset with the code.
func (s *rawStream) mustReset(want wire.Code) {
	s.t.Helper()
	if code, clean := s.ended(); clean || code != want {
		s.t.Errorf("stream %d: ended with %v (FIN: %t), want a reset with %v", s.ID(), code, clean, want)
	}
}

// frames reads frames of any size.
type frames struct {
	src io.Reader
	buf []byte
}

func (f *frames) more() error {
	chunk := make([]byte, 4096)
	n, err := f.src.Read(chunk)
	quiesce()
	f.buf = append(f.buf, chunk[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

func (f *frames) varint() (uint64, error) {
	for {
		v, n, err := wire.ParseVarint(f.buf)
		if err == nil {
			f.buf = f.buf[n:]
			return v, nil
		}
		if err := f.more(); err != nil {
			return 0, err
		}
	}
}

func (f *frames) next() (wire.FrameHeader, []byte, error) {
	for {
		h, n, err := wire.ParseFrameHeader(f.buf)
		if err == nil && uint64(len(f.buf)-n) >= h.Length {
			body := f.buf[n : n+int(h.Length)]
			f.buf = f.buf[n+int(h.Length):]
			return h, body, nil
		}
		if err := f.more(); err != nil {
			return wire.FrameHeader{}, nil, err
		}
	}
}

// rawServer is a server that accepts connections and runs a script on each.
type rawServer struct {
	id   security.ID
	addr net.Addr
	// script and config are what it runs, and how.
	script func(r *raw)
	config *quic.Config
}

// rawServer returns a server that runs script for each connection, in a new goroutine.
func (w *world) rawServer(service string, script func(r *raw)) *rawServer {
	w.t.Helper()
	source := w.ca.Source(service)
	return w.rawServerTLS(source.ID(), mtls.Server(source, mtls.Protocol), script)
}

func (w *world) rawServerTLS(id security.ID, conf *tls.Config, script func(r *raw)) *rawServer {
	w.t.Helper()
	return w.rawServerWith(id, conf, rawConfig(), script)
}

// narrowServer returns a rawServer whose streams have a receive window of window bytes.
func (w *world) narrowServer(service string, window uint64, script func(r *raw)) *rawServer {
	w.t.Helper()
	source, config := w.ca.Source(service), rawConfig()
	config.InitialStreamReceiveWindow, config.MaxStreamReceiveWindow = window, window
	return w.rawServerWith(source.ID(), mtls.Server(source, mtls.Protocol), config, script)
}

func (w *world) rawServerWith(id security.ID, conf *tls.Config, config *quic.Config, script func(r *raw)) *rawServer {
	w.t.Helper()
	tr := &quic.Transport{Conn: w.socket()}
	l, err := tr.Listen(conf, config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = tr.Close() })
	w.scripts.Go(func() {
		for {
			conn, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			w.scripts.Go(func() { script(w.raw(conn)) })
		}
	})
	return &rawServer{id: id, addr: tr.Conn.LocalAddr(), script: script, config: config}
}

// dial connects a node to the raw server.
func (n *node) dial(s *rawServer) (*Session, error) {
	p := n.peerAt(s.id, s.addr.String())
	if !n.w.inMemory {
		return p.Session(n.t.Context(), ClassCalls)
	}
	if live := p.Live(ClassCalls); live != nil {
		return live, nil
	}
	addr, _ := s.addr.(*net.UDPAddr)
	here, there := memconn.Pair(withOwner(n.t.Context()), withOwner(n.t.Context()), n.end(), rawEnd(addr, s.config))
	n.w.scripts.Go(func() { s.script(&raw{t: n.t, w: n.w, conn: there}) })
	return n.greetOn(p, here, s.id)
}

// serving returns a script that sends SETUP and runs serve for each stream of the client, in a new goroutine.
func serving(serve func(s *rawStream)) func(r *raw) {
	return servingAs(func() wire.Setup { return setupOf(Limits{}) }, serve)
}

// servingAs is like serving, and calls setup for the SETUP of each connection.
func servingAs(setup func() wire.Setup, serve func(s *rawStream)) func(r *raw) {
	return func(r *raw) {
		s, err := r.conn.OpenControl()
		if err != nil {
			return
		}
		r.control = s
		if _, err := s.Write(wire.AppendSetup(controlType(), new(setup()))); err != nil {
			return
		}
		r.w.scripts.Go(r.answerPings)
		for {
			st, err := r.conn.Accept(context.Background())
			if err != nil {
				return
			}
			r.w.scripts.Go(func() { serve(&rawStream{t: r.t, conn: r, Stream: st, frames: frames{src: st}}) })
		}
	}
}

// answerPings answers each PING with a PONG until the connection ends.
func (r *raw) answerPings() {
	s, err := r.conn.AcceptUni(context.Background())
	if err != nil {
		return
	}
	f := frames{src: s}
	_, err = f.varint()
	for err == nil {
		var h wire.FrameHeader
		var body []byte
		if h, body, err = f.next(); h.Kind == wire.KindPing {
			_, err = r.control.Write(frame(wire.KindPong, 0, string(body)))
		}
	}
}

// request reads HEADERS and DATA, and before them the type of the stream if it is fresh. It returns the message.
func (s *rawStream) request(fresh bool) (message string, err error) {
	if fresh {
		if _, err := s.frames.varint(); err != nil {
			return "", err
		}
	}
	for {
		h, body, err := s.frames.next()
		if err != nil {
			return "", err
		}
		if h.Kind == wire.KindData {
			return string(body), nil
		}
	}
}

func (r *raw) addr() string { return r.conn.LocalAddr().String() }
