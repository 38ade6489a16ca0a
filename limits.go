package link

import (
	"cmp"
	"reflect"
	"time"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/transport"
)

// Limits bounds what a node accepts, holds and waits for. The zero value of each
// field means its default; docs/design.md gives the reasons. Errors name the
// field whose limit was reached.
type Limits struct {
	MaxMessage       int             // bytes of one message, both ways; default 4 MiB, at most 64 MiB
	CallsPerIdentity int             // calls and streams that one identity may have running here; default 4096
	CallsPerProcess  int             // calls and streams that may run here in all; default 20000
	ConnsPerIdentity int             // connections that one identity may hold; default 1024
	ConnsPerProcess  int             // connections that peers may hold in all; default 10000
	InFlightBytes    int64           // bytes of messages over 2 KiB being received, of large replies that are not read, of frames without credit, and of replies at a caller; default 256 MiB
	WindowBytes      int64           // bytes by which the windows of all connections may grow, and with them the data in flight to this node; default 1 GiB
	CreditBytes      int64           // bytes of credit granted to all peers, until the frames sent for it are read; default 1 GiB
	CallTimeout      time.Duration   // time for a call for which neither its context, nor the topology, nor its method ([Timeout]) sets one; default 10 s
	MaxCallTime      time.Duration   // cap on the deadline of an incoming unary call; default 60 s
	DrainTimeout     time.Duration   // time that Run waits, when its context ends, for work in flight: calls, messages for subscribers, queued tasks, and the functions of [Node.OnDrain]; default 30 s
	DialTimeout      time.Duration   // time for one dial, handshake and SETUP; default 5 s
	SessionIdle      time.Duration   // time before an unused connection is closed; default 5 min
	Silence          time.Duration   // time to notice that a peer is silent; it is given up after twice that; default 500 ms
	Streams          StreamLimits    // limits of streams, and of what they carry
	Handshakes       HandshakeLimits // limits of connections that are not set up yet
	MaxNesting       int             // levels of arrays, maps and structs in a message, both ways; default 100; see codec.Limits
	MaxExpansion     int             // bytes of memory that each byte of a message may become, both ways; default 60; see codec.Limits
}

// StreamLimits bounds the streams of a node. The zero value of each field means
// its default.
type StreamLimits struct {
	PerConnection int           // streams that a peer may have open at once; default 1024
	PerProcess    int           // streams that peers may have open in all; default 32768
	FirstHeader   time.Duration // time for a new stream to send all of its HEADERS; default 5 s
	BodyRate      int           // bytes per second that a message must sustain after BodyGrace; default 16 KiB/s
	BodyGrace     time.Duration // time before BodyRate applies; default 10 s
	Idle          time.Duration // time before an idle call stream that the caller does not close is closed; default 90 s
	IdleLeases    int           // idle call streams kept per connection; default 256
	LeaseIdle     time.Duration // time before an idle call stream is closed; default 30 s
	Waiters       int           // calls and streams that may wait for a stream on one connection; default 4096
	RefusalRate   int           // refused calls and streams per second that one peer may replace with new streams at once; default 2048
	PendingFrames int           // frames without credit that wait for Recv on one stream; default 1024
	PendingBytes  int           // bytes of these frames; default 256 KiB
}

// HandshakeLimits bounds the connections to a node that are not set up yet. The
// zero value of each field means its default.
type HandshakeLimits struct {
	Pending      int           // handshakes in progress at once; default 1024
	PerSource    int           // handshakes in progress from one unvalidated address (IPv6: /64); default 128
	RetryAbove   int           // unvalidated handshakes in progress above which addresses must be validated; default 128
	RetryRate    int           // new handshakes per second above which addresses must be validated; default 200
	SetupTimeout time.Duration // time from the handshake to the peer's SETUP; default 5 s
}

const (
	// maxMessageCap is the largest value of Limits.MaxMessage.
	maxMessageCap = 64 << 20

	defaultCallTimeout  = 10 * time.Second
	defaultDrainTimeout = 30 * time.Second
)

func (l Limits) validate() error {
	if err := notNegative(reflect.ValueOf(l), "Config.Limits"); err != nil {
		return err
	}
	if l.MaxMessage > maxMessageCap {
		return Errorf(InvalidArgument, "Config.Limits.MaxMessage is %d, want at most %d", l.MaxMessage, maxMessageCap)
	}
	return nil
}

// notNegative returns an error that names the first number below 0 in the struct v, which users know as path.
func notNegative(v reflect.Value, path string) error {
	for i := range v.NumField() {
		field, name := v.Field(i), path+"."+v.Type().Field(i).Name
		if field.Kind() == reflect.Struct {
			if err := notNegative(field, name); err != nil {
				return err
			}
			continue
		}
		if field.Int() < 0 {
			return Errorf(InvalidArgument, "%s is %v, want 0 for the default or more", name, field.Interface())
		}
	}
	return nil
}

// transport returns the limits that the transport enforces. Its fields have the same names, and its structs the same fields.
func (l Limits) transport() (out transport.Limits) {
	from, to := reflect.ValueOf(l), reflect.ValueOf(&out).Elem()
	for i := range to.NumField() {
		to.Field(i).Set(from.FieldByName(to.Type().Field(i).Name).Convert(to.Field(i).Type()))
	}
	return out
}

// codec returns the limits that the codec enforces.
func (l Limits) codec() codec.Limits {
	return codec.Limits{MaxNesting: l.MaxNesting, MaxExpansion: l.MaxExpansion}
}

func (l Limits) silence() time.Duration {
	return cmp.Or(l.Silence, transport.DefaultSilence)
}

func (l Limits) maxMessage() int {
	return cmp.Or(l.MaxMessage, transport.DefaultMaxMessage)
}
