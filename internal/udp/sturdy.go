package udp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

// sturdy keeps errors of a socket from ending connections. All connections share the socket, and quic-go ends all
// of them when a read fails, and one when a write fails. Neither is necessary: the kernel reports the loss of one
// datagram, or a passing condition such as a full queue, a firewall without room, or an interface that is gone for a
// moment. QUIC is made for losses, and link notices silence in time.
//
//   - A read that fails is repeated, after a pause if the one before failed, too. After readsFail without a
//     datagram the socket is given up: see [Config].
//   - A write that fails is repeated once, because the error may be about an earlier datagram. If it fails again,
//     the datagram is lost. Only an error of the first packets of a handshake ends the handshake, to tell the dialer.
//
// Errors about the size of a datagram are passed to quic-go, which probes the MTU of a path with them. If a device does
// not cut datagrams into segments, sturdy does.
//
// sturdy also drops the datagrams that Config.Admit does not admit.
type sturdy struct {
	log *slog.Logger
	// failed and admit are those of Config.
	failed func(error)
	admit  func(datagram []byte, from net.Addr) bool

	// ended is closed when quic-go has ended the reads, which it does with a deadline. end closes it.
	ended chan struct{}
	end   func()

	// row counts the reads that have failed since the last datagram, and since is when the first of them failed.
	// Only the goroutine that reads uses them.
	row   int
	since time.Time

	// lost counts the datagrams that could not be sent. said is when that was logged last, on the scale of package clock.
	lost atomic.Uint64
	said atomic.Int64
}

const (
	// longHeader is set in the first byte of a packet of a handshake (RFC 8999, section 5.1).
	longHeader = 0x80
	// readPause is the pause after the second failed read in a row. It doubles with each further one, up to
	// readPauseMost.
	readPause     = time.Millisecond
	readPauseMost = 100 * time.Millisecond
	// readsFail is how long a socket may return nothing but errors before it is given up.
	readsFail = 10 * time.Second
	// lostEvery is how often it is logged, at most, that datagrams cannot be sent.
	lostEvery = 10 * time.Second
)

// rest pauses after a read that failed, and reports whether to read again.
func (s *sturdy) rest(err error) bool {
	select {
	case <-s.ended:
		return false
	default:
	}
	if s.row++; s.row == 1 {
		s.since = time.Now()
	}
	switch {
	case errors.Is(err, net.ErrClosed):
		s.failed(fmt.Errorf("somebody else has closed it: %w", err))
		return false
	case s.row == 1:
		return true
	case time.Since(s.since) > readsFail:
		s.failed(fmt.Errorf("reading it has failed for %v: %w", readsFail, err))
		return false
	}
	t := time.NewTimer(min(readPause<<min(s.row-2, 10), readPauseMost))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ended:
		return false
	}
}

// came notes that a datagram was read.
func (s *sturdy) came() {
	if s.row != 0 {
		s.row = 0
	}
}

// sift empties the datagrams that quic-go may not see. quic-go skips empty ones.
func (s *sturdy) sift(ms []ipv4.Message) {
	for i := range ms {
		m := &ms[i]
		if m.N > 0 && m.Buffers[0][0]&longHeader != 0 && !s.admit(m.Buffers[0][:m.N], m.Addr) {
			m.N = 0
		}
	}
}
