package udp

import (
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/linkmesh/link/internal/clock"
)

// resend repeats a write that failed with err, and returns the error for quic-go.
func (s *sturdy) resend(b, oob []byte, to net.Addr, err error, write func(b, oob []byte) error) error {
	if errors.Is(err, syscall.EIO) {
		if rest, size := withoutSegments(oob); size > 0 {
			return s.cut(b, rest, size, to, write)
		}
	}
	if isForQUIC(err) {
		return err
	}
	if err = write(b, oob); err == nil || isForQUIC(err) {
		return err
	}
	// Initial packets are defined in RFC 9000, section 17.2.2.
	if initial := b[0]&0xb0 == 0x80; initial && !isForNow(err) {
		// On EIO itself, quic-go would cut the packet into parts of zero bytes, in an endless loop.
		if errors.Is(err, syscall.EIO) {
			return errors.New(err.Error())
		}
		return err
	}
	lost := s.lost.Add(1)
	now, last := clock.Now(), s.said.Load()
	if (last == 0 || now-last >= int64(lostEvery)) && s.said.CompareAndSwap(last, now) {
		s.log.Warn("link: datagrams cannot be sent, and are lost", "to", to.String(), "error", err, "lost", lost)
	}
	return nil
}

// cut writes the packets one by one that a device did not accept as segments of one datagram. quic-go could do that
// itself, but it records the error in a variable that another goroutine reads without a lock.
func (s *sturdy) cut(b, oob []byte, size int, to net.Addr, write func(b, oob []byte) error) error {
	for len(b) > 0 {
		part := b[:min(size, len(b))]
		b = b[len(part):]
		err := write(part, oob)
		if err != nil {
			err = s.resend(part, oob, to, err, write)
		}
		if err != nil && !isTooLong(err) {
			return err
		}
	}
	return nil
}

// The Windows errors WSAEMSGSIZE and WSAENOBUFS, which package syscall does not define.
const (
	errTooLong = syscall.Errno(10040)
	errNoRoom  = syscall.Errno(10055)
)

// isForQUIC reports whether quic-go handles an error of a write itself, or the socket is closed.
func isForQUIC(err error) bool {
	return isTooLong(err) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}

func isTooLong(err error) bool { return errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, errTooLong) }

// isForNow reports whether an error says that there is no room at the moment.
func isForNow(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, errNoRoom) || errors.Is(err, syscall.ENOMEM)
}
