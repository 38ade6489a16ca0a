package transport

import (
	"cmp"
	"time"
)

// Limits bounds what one endpoint accepts and holds. Package link has the same fields and says what each of them means. The
// zero value of each field means its default; docs/design.md gives the reasons.
type Limits struct {
	MaxMessage int

	CallsPerIdentity, CallsPerProcess int
	ConnsPerIdentity, ConnsPerProcess int

	InFlightBytes, WindowBytes, CreditBytes int64

	MaxCallTime, DialTimeout time.Duration
	SessionIdle, Silence     time.Duration

	Streams    StreamLimits
	Handshakes HandshakeLimits
}

// StreamLimits bounds streams. Its fields are those of package link, in the same order, so that one converts to the other.
type StreamLimits struct {
	PerConnection, PerProcess   int
	FirstHeader                 time.Duration
	BodyRate                    int
	BodyGrace, Idle             time.Duration
	IdleLeases                  int
	LeaseIdle                   time.Duration
	Waiters, RefusalRate        int
	PendingFrames, PendingBytes int
}

// HandshakeLimits bounds connections that are not set up yet. Its fields are those of package link, in the same order.
type HandshakeLimits struct {
	Pending, PerSource    int
	RetryAbove, RetryRate int
	SetupTimeout          time.Duration
}

// The defaults that other packages also use.
const (
	DefaultMaxMessage = 4 << 20
	DefaultSilence    = 500 * time.Millisecond
)

func (l Limits) withDefaults() Limits {
	l.MaxMessage = cmp.Or(l.MaxMessage, DefaultMaxMessage)
	l.CallsPerIdentity = cmp.Or(l.CallsPerIdentity, 4096)
	l.CallsPerProcess = cmp.Or(l.CallsPerProcess, 20_000)
	l.ConnsPerIdentity = cmp.Or(l.ConnsPerIdentity, 1024)
	l.ConnsPerProcess = cmp.Or(l.ConnsPerProcess, 10_000)
	l.InFlightBytes = cmp.Or(l.InFlightBytes, 256<<20)
	l.WindowBytes = cmp.Or(l.WindowBytes, 1<<30)
	l.CreditBytes = cmp.Or(l.CreditBytes, 1<<30)
	l.MaxCallTime = cmp.Or(l.MaxCallTime, time.Minute)
	l.DialTimeout = cmp.Or(l.DialTimeout, 5*time.Second)
	l.SessionIdle = cmp.Or(l.SessionIdle, 5*time.Minute)
	l.Silence = cmp.Or(l.Silence, DefaultSilence)
	l.Streams = l.Streams.withDefaults()
	l.Handshakes = l.Handshakes.withDefaults()
	return l
}

func (l StreamLimits) withDefaults() StreamLimits {
	l.PerConnection = cmp.Or(l.PerConnection, 1024)
	l.PerProcess = cmp.Or(l.PerProcess, 32<<10)
	l.FirstHeader = cmp.Or(l.FirstHeader, 5*time.Second)
	l.BodyRate = cmp.Or(l.BodyRate, 16<<10)
	l.BodyGrace = cmp.Or(l.BodyGrace, 10*time.Second)
	l.Idle = cmp.Or(l.Idle, 90*time.Second)
	l.IdleLeases = cmp.Or(l.IdleLeases, 256)
	l.LeaseIdle = cmp.Or(l.LeaseIdle, 30*time.Second)
	l.Waiters = cmp.Or(l.Waiters, 4096)
	l.RefusalRate = cmp.Or(l.RefusalRate, 2048)
	l.PendingFrames = cmp.Or(l.PendingFrames, 1024)
	l.PendingBytes = cmp.Or(l.PendingBytes, 256<<10)
	return l
}

func (l HandshakeLimits) withDefaults() HandshakeLimits {
	l.Pending = cmp.Or(l.Pending, 1024)
	l.PerSource = cmp.Or(l.PerSource, 128)
	l.RetryAbove = cmp.Or(l.RetryAbove, 128)
	l.RetryRate = cmp.Or(l.RetryRate, 200)
	l.SetupTimeout = cmp.Or(l.SetupTimeout, 5*time.Second)
	return l
}

const (
	// keepAlive is the interval of keep-alive packets, which only the dialing side sends.
	keepAlive   = 10 * time.Second
	idleTimeout = 30 * time.Second
)
