package quicconn

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// Each type of this file is one pointer, so that an interface holds it without an allocation.

// Conn is a QUIC connection as a [carrier.Conn].
type Conn struct{ conn *quic.Conn }

// Of returns a connection of quic-go as a Conn.
func Of(conn *quic.Conn) Conn { return Conn{conn} }

// TLS returns the state of the handshake, which is complete.
func (c Conn) TLS() tls.ConnectionState { return c.conn.ConnectionState().TLS }

// TryOpen implements carrier.Conn.
func (c Conn) TryOpen() (carrier.Stream, error) { return opened(c.conn.OpenStream()) }

// Open implements carrier.Conn.
func (c Conn) Open(ctx context.Context) (carrier.Stream, error) {
	return opened(c.conn.OpenStreamSync(ctx))
}

// Accept implements carrier.Conn.
func (c Conn) Accept(ctx context.Context) (carrier.Stream, error) {
	return opened(c.conn.AcceptStream(ctx))
}

func opened(s *quic.Stream, err error) (carrier.Stream, error) {
	if err != nil {
		return nil, Translate(err)
	}
	return stream{s}, nil
}

// OpenControl implements carrier.Conn.
func (c Conn) OpenControl() (carrier.Sender, error) {
	s, err := c.conn.OpenUniStream()
	if err != nil {
		return nil, Translate(err)
	}
	s.SetPriority(0, false)
	return sender{s}, nil
}

// AcceptUni implements carrier.Conn.
func (c Conn) AcceptUni(ctx context.Context) (carrier.Receiver, error) {
	s, err := c.conn.AcceptUniStream(ctx)
	if err != nil {
		return nil, Translate(err)
	}
	return receiver{s}, nil
}

// Close implements carrier.Conn.
func (c Conn) Close(code wire.Code, reason string) {
	// It never fails.
	_ = c.conn.CloseWithError(quic.ApplicationErrorCode(code), reason)
}

// Context implements carrier.Conn. Its cause is an error of quic-go, and so are those of contexts that are made from it.
func (c Conn) Context() context.Context { return c.conn.Context() }

// Cause implements carrier.Conn.
func (c Conn) Cause() error {
	why := context.Cause(c.conn.Context())
	if why == nil {
		return nil
	}
	return endOf(why)
}

// Stats implements carrier.Conn.
func (c Conn) Stats() carrier.Stats {
	s := c.conn.ConnectionStats()
	return carrier.Stats{RTT: s.SmoothedRTT, Deviation: s.MeanDeviation, Sent: s.PacketsSent, Received: s.PacketsReceived}
}

// RemoteAddr implements carrier.Conn.
func (c Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// LocalAddr implements carrier.Conn.
func (c Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// stream is a stream in both directions.
type stream struct{ *quic.Stream }

func (s stream) ID() uint64 { return uint64(s.StreamID()) }

func (s stream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	if err != nil {
		err = Translate(err)
	}
	return n, err
}

func (s stream) CancelRead(code wire.Code) { s.Stream.CancelRead(quic.StreamErrorCode(code)) }

func (s stream) ReleaseCredit() { s.ReleaseStreamCredit() }

func (s stream) TryWrite(b []byte) error {
	if err := s.TryWriteAll(b); err != nil {
		return Translate(err)
	}
	return nil
}

func (s stream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	if err != nil {
		err = Translate(err)
	}
	return n, err
}

func (s stream) MarkReliable() { s.SetReliableBoundary() }

func (s stream) CancelWrite(code wire.Code) { s.Stream.CancelWrite(quic.StreamErrorCode(code)) }

// Finish ignores that the stream was reset: then it has ended already.
func (s stream) Finish() { _ = s.Close() }

func (s stream) Cause() error { return Translate(context.Cause(s.Context())) }

// sender is a stream to the peer.
type sender struct{ *quic.SendStream }

func (s sender) TryWrite(b []byte) error { return Translate(s.TryWriteAll(b)) }

func (s sender) Write(b []byte) (int, error) {
	n, err := s.SendStream.Write(b)
	return n, Translate(err)
}

func (s sender) MarkReliable() { s.SetReliableBoundary() }

func (s sender) CancelWrite(code wire.Code) { s.SendStream.CancelWrite(quic.StreamErrorCode(code)) }

func (s sender) Finish() { _ = s.Close() }

func (s sender) Cause() error { return Translate(context.Cause(s.Context())) }

// receiver is a stream from the peer.
type receiver struct{ *quic.ReceiveStream }

func (r receiver) Read(b []byte) (int, error) {
	n, err := r.ReceiveStream.Read(b)
	return n, Translate(err)
}

func (r receiver) CancelRead(code wire.Code) { r.ReceiveStream.CancelRead(quic.StreamErrorCode(code)) }

func (r receiver) ReleaseCredit() { r.ReleaseStreamCredit() }
