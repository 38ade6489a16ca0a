package transport

import "time"

// Limits bounds what one endpoint accepts and holds. The zero value of each
// field means its default. The numbers come from docs/design.md, section
// Limits.
type Limits struct {
	MaxMessage           int           // bytes of one message, both ways; default 4 MiB
	StreamsPerConnection int           // streams that a peer may have open at once; default 1024
	StreamsPerProcess    int           // streams that peers may have open in all; default 32768
	CallsPerIdentity     int           // calls and streams that one identity may have running here; default 4096
	CallsPerProcess      int           // calls and streams that may run here in all; default 20000
	ConnsPerIdentity     int           // connections that one identity may hold; default 1024
	ConnsPerProcess      int           // connections that peers may hold in all; default 10000
	InFlightBytes        int64         // bytes of messages being received, over all connections; default 256 MiB
	WindowBytes          int64         // bytes by which the windows of all connections may grow, see mayGrow; default 1 GiB
	CreditBytes          int64         // bytes of credited frames that all peers may send, or have sent and nobody has read; default 1 GiB
	MaxCallTime          time.Duration // cap on the deadline of an incoming unary call; default 60 s
	FirstHeader          time.Duration // until a new stream has sent its whole HEADERS; default 5 s
	BodyRate             int           // bytes per second that a body must keep up after BodyGrace; default 16 KiB/s
	BodyGrace            time.Duration // before BodyRate counts; default 10 s
	SetupTimeout         time.Duration // from the handshake to the peer's SETUP; default 5 s
	DialTimeout          time.Duration // for one dial, handshake and SETUP; default 5 s
	IdleLeases           int           // idle call streams kept per connection; default 256
	LeaseIdle            time.Duration // before an idle call stream is closed; default 30 s
	StreamIdle           time.Duration // before an idle call stream that the peer does not close is closed; default 90 s
	Waiters              int           // calls and streams that may wait for a stream on one connection; default 4096
	SessionIdle          time.Duration // before an unused connection is closed; default 5 min
	Silence              time.Duration // time to notice that a peer is silent; it is given up after twice that; default 500 ms
	Handshakes           int           // handshakes under way at once; default 1024
	HandshakesPerSource  int           // handshakes under way from one unvalidated address (IPv6: /64); default 128
	RetryAbove           int           // unvalidated handshakes under way above which addresses must be validated; default 128
	RetryRate            int           // new handshakes per second above which addresses must be validated; default 200
	RefusalRate          int           // refused calls and streams per second of one peer whose stream it may replace at once; default 2048
	PendingFrames        int           // uncredited frames of a stream waiting for Recv; default 1024
	PendingBytes         int           // bytes of these; default 256 KiB
}

func or[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// The defaults that others go by, too.
const (
	DefaultMaxMessage = 4 << 20
	DefaultSilence    = 500 * time.Millisecond
)

func (l Limits) withDefaults() Limits {
	or(&l.MaxMessage, DefaultMaxMessage)
	or(&l.StreamsPerConnection, 1024)
	or(&l.StreamsPerProcess, 32<<10)
	or(&l.CallsPerIdentity, 4096)
	or(&l.CallsPerProcess, 20_000)
	or(&l.ConnsPerIdentity, 1024)
	or(&l.ConnsPerProcess, 10_000)
	or(&l.InFlightBytes, 256<<20)
	or(&l.WindowBytes, 1<<30)
	or(&l.CreditBytes, 1<<30)
	or(&l.MaxCallTime, time.Minute)
	or(&l.FirstHeader, 5*time.Second)
	or(&l.BodyRate, 16<<10)
	or(&l.BodyGrace, 10*time.Second)
	or(&l.SetupTimeout, 5*time.Second)
	or(&l.DialTimeout, 5*time.Second)
	or(&l.IdleLeases, 256)
	or(&l.LeaseIdle, 30*time.Second)
	or(&l.StreamIdle, 90*time.Second)
	or(&l.Waiters, 4096)
	or(&l.SessionIdle, 5*time.Minute)
	or(&l.Silence, DefaultSilence)
	or(&l.Handshakes, 1024)
	or(&l.HandshakesPerSource, 128)
	or(&l.RetryAbove, 128)
	or(&l.RetryRate, 200)
	or(&l.RefusalRate, 2048)
	or(&l.PendingFrames, 1024)
	or(&l.PendingBytes, 256<<10)
	return l
}

const (
	keepAlive   = 10 * time.Second // sent by the dialing side only
	idleTimeout = 30 * time.Second
)
