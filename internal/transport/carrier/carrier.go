// Package carrier says what a session needs of the connection below it, and nothing of how bytes travel.
//
// # Overview
//
// A [Conn] carries many [Stream] values, each in both directions. Package quicconn implements it over QUIC, and memconn in
// memory, for tests. Package carriertest holds the promises of this page, for every implementation.
//
// # Errors
//
// An operation on a stream fails with a [*ResetError] if its direction was reset, and with an [*EndError] if the connection
// has ended. [ErrWouldBlock], [ErrNoStream] and [ErrFinished] are returned as they are, and so is io.EOF, behind the last
// byte. An operation whose deadline has passed fails with an error whose method Timeout returns true.
//
// # Concurrency
//
// A connection is safe for concurrent use. One goroutine at a time may read from a stream and one may write to it; any
// goroutine may set deadlines, cancel, release credit and use the context.
package carrier

import (
	"context"
	"net"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// Conn is a connection to one peer.
type Conn interface {
	// TryOpen opens a stream. It fails with ErrNoStream if the peer allows none now, or if callers wait in Open: it does
	// not overtake them. The peer learns of a stream by its first byte, its end or its reset.
	TryOpen() (Stream, error)
	// Open is like TryOpen, but waits until the peer allows a stream, in the order of the callers. If ctx ends first,
	// the error is that of ctx.
	Open(ctx context.Context) (Stream, error)
	// OpenControl opens a stream in one direction, whose bytes are sent before those of streams in both.
	OpenControl() (Sender, error)
	// Accept returns the next stream of the peer, in the order of their numbers. It waits for one until ctx ends. Streams
	// that the peer reset at once are returned, too. No queue of streams drops any, because credit bounds their number.
	Accept(ctx context.Context) (Stream, error)
	// AcceptUni is Accept for streams in one direction.
	AcceptUni(ctx context.Context) (Receiver, error)
	// Close ends the connection and tells the peer why. It returns when Context has ended. The first end counts.
	Close(code wire.Code, reason string)
	// Context ends with the connection, after everything that fails because of that has begun to fail.
	Context() context.Context
	// Cause returns how the connection ended, an *EndError. It returns nil while Context has not ended.
	Cause() error
	// Stats returns what is known of the way to the peer.
	Stats() Stats
	// RemoteAddr returns where the peer is. It may change. Equal values mean that it has not.
	RemoteAddr() net.Addr
	LocalAddr() net.Addr
}

// Stats is what a connection has measured.
type Stats struct {
	// RTT is the smoothed round-trip time, and Deviation how far measurements are from it in the mean.
	RTT, Deviation time.Duration
	// Sent and Received count packets.
	Sent, Received uint64
}

// Receiver is the direction of a stream from the peer.
type Receiver interface {
	// Read returns what has arrived, and waits if there is nothing. It returns bytes that the peer marked as reliable before
	// it returns the peer's reset. Reading is what lets the peer send more.
	Read(b []byte) (int, error)
	// SetReadDeadline sets when Read gives up, also a Read that waits. Zero means never. It never fails.
	SetReadDeadline(t time.Time) error
	// CancelRead ends reading: Read fails at once with a local reset, also a Read that waits. The peer's writes fail
	// with code, and its context ends. It does not block. The first code counts.
	CancelRead(code wire.Code)
	// ReleaseCredit lets the peer open one more stream once both directions of this one are over. Nothing else does.
	// Further calls do nothing.
	ReleaseCredit()
}

// Sender is the direction of a stream to the peer.
type Sender interface {
	// TryWrite writes all of b if the windows of the stream and of the connection have room for it and no other write is
	// under way. Otherwise it writes nothing and fails with ErrWouldBlock. Success means that the peer has room for all that
	// was written before, too. TryWrite copies b, does not block, and heeds no deadline. Each small call makes one, so it
	// should allocate nothing.
	TryWrite(b []byte) error
	// Write writes b. It waits until the peer has room for it, but may return while up to a packet of it waits.
	Write(b []byte) (int, error)
	// SetWriteDeadline sets when Write gives up, also a Write that waits. Zero means never. It never fails.
	SetWriteDeadline(t time.Time) error
	// MarkReliable makes a CancelWrite that follows deliver what was written so far, unless the peer stops reading.
	MarkReliable()
	// CancelWrite resets the direction: writes fail with a local reset, also a Write that waits, and the peer's Read fails
	// with code. It does not block. The first code counts.
	CancelWrite(code wire.Code)
	// Finish ends the direction behind what was written. It must not be called during a write.
	Finish()
	// Context ends when the direction has ended: by Finish, CancelWrite, a CancelRead of the peer or the end of the
	// connection.
	Context() context.Context
	// Cause returns why Context has ended: ErrFinished, a *ResetError or an *EndError. It returns nil while Context has not.
	Cause() error
}

// Stream is a stream with both directions.
type Stream interface {
	Receiver
	Sender
	// ID returns the number of the stream. Later streams of one side have larger numbers.
	ID() uint64
}
