package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security"
)

// attackerAddr is the attacker's address. It differs from that of the honest callers.
const attackerAddr = "127.0.0.2:0"

// assault runs an attack until the parent ends it.
func assault(ctx context.Context, name, addr string, out io.Writer) error {
	for _, a := range attacks() {
		if a.name != name {
			continue
		}
		m := &mallory{addr: addr}
		if err := m.prepare(ctx); err != nil {
			return err
		}
		fmt.Fprintln(out, "begun")
		return a.run(ctx, m)
	}
	return fmt.Errorf("no attack %q", name)
}

// mallory is the attacker: a stranger, or a member that writes raw bytes.
type mallory struct {
	addr   string
	tr     *quic.Transport
	target net.Addr
}

func (m *mallory) prepare(ctx context.Context) (err error) {
	if m.target, err = net.ResolveUDPAddr("udp", m.addr); err != nil {
		return err
	}
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "udp", attackerAddr)
	if err != nil {
		return err
	}
	m.tr = &quic.Transport{Conn: conn, ConnectionIDLength: 8}
	return nil
}

// identity returns a client TLS configuration with the given service name. In the
// cluster-secret tier, mallory can take any name at no cost.
func (m *mallory) identity(name string) (*tls.Config, error) {
	source, err := security.NewClusterSource(os.Getenv(secretVariable), name, "")
	if err != nil {
		return nil, err
	}
	id, err := security.NewID(source.ID().TrustDomain(), "default", service)
	if err != nil {
		return nil, err
	}
	return mtls.Client(source, id, mtls.Protocol), nil
}

// quicConfig returns a configuration with a fixed stream receive window of window bytes.
func quicConfig(window uint64) *quic.Config {
	return &quic.Config{
		EnableStreamResetPartialDelivery: true,
		MaxIdleTimeout:                   time.Minute, KeepAlivePeriod: 10 * time.Second,
		InitialStreamReceiveWindow: window, MaxStreamReceiveWindow: window,
	}
}

// dial connects under the given name, exchanges SETUP, and returns a connection that
// answers pings.
func (m *mallory) dial(ctx context.Context, name string, window uint64) (*link1, error) {
	conf, err := m.identity(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := m.tr.Dial(ctx, m.target, conf, quicConfig(window))
	if err != nil {
		return nil, err
	}
	control, err := conn.OpenUniStream()
	if err != nil {
		return nil, err
	}
	hello := wire.AppendVarint(nil, uint64(wire.StreamControl))
	hello = wire.AppendSetup(hello, &wire.Setup{Version: 1, MaxMessage: 4 << 20, Codecs: []uint64{0}})
	if _, err := control.Write(hello); err != nil {
		return nil, err
	}
	theirs, err := conn.AcceptUniStream(ctx)
	if err != nil {
		return nil, err
	}
	c := &link1{Conn: conn, control: control}
	go c.answer(theirs)
	return c, nil
}

// link1 is a connection that speaks link/1.
type link1 struct {
	*quic.Conn

	control *quic.SendStream
}

// answer answers pings, so that the node considers the connection alive.
func (c *link1) answer(s *quic.ReceiveStream) {
	r := &reader{src: s}
	if _, err := r.varint(); err != nil {
		return
	}
	for {
		h, body, err := r.next()
		if err != nil {
			return
		}
		if h.Kind == wire.KindPing {
			pong := wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindPong, Length: uint64(len(body))})
			if _, err := c.control.Write(append(pong, body...)); err != nil {
				return
			}
		}
	}
}

// stream opens a stream of the given type and writes frames to it.
func (c *link1) stream(ctx context.Context, typ wire.StreamType, frames []byte) (*quic.Stream, error) {
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	_, err = s.Write(append(wire.AppendVarint(nil, uint64(typ)), frames...))
	return s, err
}

// headers returns the HEADERS frame of a call.
func headers(route string, kind uint64) []byte {
	return wire.AppendHeaders(nil, &wire.Headers{Route: route, RouteKind: kind, Timeout: uint64(time.Minute.Microseconds())})
}

// begin returns the header of a frame that announces a body of length bytes.
func begin(kind wire.Kind, length int) []byte {
	return wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: kind, Length: uint64(length)})
}

// reader reads frames from src.
type reader struct {
	src io.Reader
	buf []byte
}

func (r *reader) more() error {
	chunk := make([]byte, 4096)
	n, err := r.src.Read(chunk)
	if r.buf = append(r.buf, chunk[:n]...); n > 0 {
		return nil
	}
	return err
}

func (r *reader) varint() (uint64, error) {
	for {
		if v, n, err := wire.ParseVarint(r.buf); err == nil {
			r.buf = r.buf[n:]
			return v, nil
		}
		if err := r.more(); err != nil {
			return 0, err
		}
	}
}

// maxFrame bounds a frame on CONTROL, in bytes.
const maxFrame = 1 << 20

var errFrame = errors.New("a frame is too long")

func (r *reader) next() (h wire.FrameHeader, body []byte, err error) {
	for {
		h, n, err := wire.ParseFrameHeader(r.buf)
		if err == nil && h.Length > maxFrame {
			return h, nil, errFrame
		}
		if err == nil && uint64(len(r.buf)-n) >= h.Length {
			body := r.buf[n : n+int(h.Length)]
			r.buf = r.buf[n+int(h.Length):]
			return h, body, nil
		}
		if err := r.more(); err != nil {
			return wire.FrameHeader{}, nil, err
		}
	}
}
