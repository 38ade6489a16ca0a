package transport

import (
	"cmp"
	"time"
)

// Limits bounds what one endpoint accepts and holds. Package link has the same fields and says what each of them means. The
// zero value of each field means its default; docs/design.md gives the reasons.
type Limits struct {
	MaxMessage int

	StreamsPerConnection, StreamsPerProcess int
	CallsPerIdentity, CallsPerProcess       int
	ConnsPerIdentity, ConnsPerProcess       int

	InFlightBytes, WindowBytes, CreditBytes int64

	MaxCallTime, FirstHeader  time.Duration
	BodyRate                  int
	BodyGrace                 time.Duration
	SetupTimeout, DialTimeout time.Duration

	IdleLeases            int
	LeaseIdle, StreamIdle time.Duration
	Waiters               int
	SessionIdle, Silence  time.Duration

	Handshakes, HandshakesPerSource    int
	RetryAbove, RetryRate, RefusalRate int
	PendingFrames, PendingBytes        int
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
