package transport

import (
	"cmp"
	"time"
)

// Limits bounds what one endpoint accepts and holds. The zero value of each
// field means its default. The numbers come from docs/design.md, section
// Limits.
type Limits struct {
	// MaxMessage bounds one message in bytes, both ways. Default 4 MiB.
	MaxMessage int
	// StreamsPerConnection is how many streams a peer may have open at once. Default 1024.
	StreamsPerConnection int
	// StreamsPerProcess is how many streams all peers together may have open. Default 32768.
	StreamsPerProcess int
	// CallsPerIdentity is how many calls and streams of one identity may run here. Default 4096.
	CallsPerIdentity int
	// CallsPerProcess is how many calls and streams may run here in total. Default 20000.
	CallsPerProcess int
	// ConnsPerIdentity is how many connections one identity may hold. Default 1024.
	ConnsPerIdentity int
	// ConnsPerProcess is how many connections all peers together may hold. Default 10000.
	ConnsPerProcess int
	// InFlightBytes bounds the bytes of messages and long headers being received, of frames that wait to
	// be read, and of replies that are not read, over all connections. Default 256 MiB.
	InFlightBytes int64
	// WindowBytes is by how many bytes the windows of all connections together may grow, see mayGrow. Default 1 GiB.
	WindowBytes int64
	// CreditBytes bounds the bytes of credited frames that all peers together may send, or have sent and nobody has
	// read. Default 1 GiB.
	CreditBytes int64
	// MaxCallTime caps the deadline of an incoming unary call. Default 60 s.
	MaxCallTime time.Duration
	// FirstHeader is how long a new stream may take to send its whole HEADERS. Default 5 s.
	FirstHeader time.Duration
	// BodyRate is how many bytes per second a body must sustain after BodyGrace. Default 16 KiB/s.
	BodyRate int
	// BodyGrace is how long a body may take before BodyRate counts. Default 10 s.
	BodyGrace time.Duration
	// SetupTimeout bounds the time from the handshake to the peer's SETUP. Default 5 s.
	SetupTimeout time.Duration
	// DialTimeout bounds one dial, including handshake and SETUP. Default 5 s.
	DialTimeout time.Duration
	// IdleLeases is how many idle call streams are kept per connection. Default 256.
	IdleLeases int
	// LeaseIdle is how long a call stream may be idle before it is closed. Default 30 s.
	LeaseIdle time.Duration
	// StreamIdle is how long a call stream may be idle that the peer should close, before this side closes it.
	// Default 90 s.
	StreamIdle time.Duration
	// Waiters is how many calls and streams may wait for a stream on one connection. Default 4096.
	Waiters int
	// SessionIdle is how long a connection may be unused before it is closed. Default 5 min.
	SessionIdle time.Duration
	// Silence is the time to notice that a peer is silent. The peer is given up after twice that. Default 500 ms.
	Silence time.Duration
	// Handshakes bounds the handshakes under way at once. Default 1024.
	Handshakes int
	// HandshakesPerSource bounds the handshakes under way from one unvalidated address (IPv6: /64). Default 128.
	HandshakesPerSource int
	// RetryAbove is the number of unvalidated handshakes under way above which addresses must be validated.
	// Default 128.
	RetryAbove int
	// RetryRate is the number of new handshakes per second above which addresses must be validated. Default 200.
	RetryRate int
	// RefusalRate is for how many refused calls and streams per second a peer may open another stream at once.
	// Default 2048.
	RefusalRate int
	// PendingFrames bounds the uncredited frames of a stream that wait for Recv. Default 1024.
	PendingFrames int
	// PendingBytes bounds the bytes of these frames. Default 256 KiB.
	PendingBytes int
}

// The defaults that other packages also use.
const (
	DefaultMaxMessage = 4 << 20
	DefaultSilence    = 500 * time.Millisecond
)

func (l Limits) withDefaults() Limits {
	l.MaxMessage = cmp.Or(l.MaxMessage, DefaultMaxMessage)
	l.StreamsPerConnection = cmp.Or(l.StreamsPerConnection, 1024)
	l.StreamsPerProcess = cmp.Or(l.StreamsPerProcess, 32<<10)
	l.CallsPerIdentity = cmp.Or(l.CallsPerIdentity, 4096)
	l.CallsPerProcess = cmp.Or(l.CallsPerProcess, 20_000)
	l.ConnsPerIdentity = cmp.Or(l.ConnsPerIdentity, 1024)
	l.ConnsPerProcess = cmp.Or(l.ConnsPerProcess, 10_000)
	l.InFlightBytes = cmp.Or(l.InFlightBytes, 256<<20)
	l.WindowBytes = cmp.Or(l.WindowBytes, 1<<30)
	l.CreditBytes = cmp.Or(l.CreditBytes, 1<<30)
	l.MaxCallTime = cmp.Or(l.MaxCallTime, time.Minute)
	l.FirstHeader = cmp.Or(l.FirstHeader, 5*time.Second)
	l.BodyRate = cmp.Or(l.BodyRate, 16<<10)
	l.BodyGrace = cmp.Or(l.BodyGrace, 10*time.Second)
	l.SetupTimeout = cmp.Or(l.SetupTimeout, 5*time.Second)
	l.DialTimeout = cmp.Or(l.DialTimeout, 5*time.Second)
	l.IdleLeases = cmp.Or(l.IdleLeases, 256)
	l.LeaseIdle = cmp.Or(l.LeaseIdle, 30*time.Second)
	l.StreamIdle = cmp.Or(l.StreamIdle, 90*time.Second)
	l.Waiters = cmp.Or(l.Waiters, 4096)
	l.SessionIdle = cmp.Or(l.SessionIdle, 5*time.Minute)
	l.Silence = cmp.Or(l.Silence, DefaultSilence)
	l.Handshakes = cmp.Or(l.Handshakes, 1024)
	l.HandshakesPerSource = cmp.Or(l.HandshakesPerSource, 128)
	l.RetryAbove = cmp.Or(l.RetryAbove, 128)
	l.RetryRate = cmp.Or(l.RetryRate, 200)
	l.RefusalRate = cmp.Or(l.RefusalRate, 2048)
	l.PendingFrames = cmp.Or(l.PendingFrames, 1024)
	l.PendingBytes = cmp.Or(l.PendingBytes, 256<<10)
	return l
}

const (
	// keepAlive is the interval of keep-alive packets, which only the dialing side sends.
	keepAlive   = 10 * time.Second
	idleTimeout = 30 * time.Second
)
