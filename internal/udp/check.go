package udp

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
)

// wantBuffer is the size in bytes of the kernel's UDP buffers that quic-go asks for.
const wantBuffer = 7 << 20

// check logs in one line what about the socket costs throughput, if
// anything does, and how to change it.
func check(conn net.PacketConn, log *slog.Logger) {
	c, ok := conn.(interface {
		SyscallConn() (syscall.RawConn, error)
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	})
	if !ok {
		return
	}
	// The errors do not matter: inspect finds the resulting sizes.
	_ = c.SetReadBuffer(wantBuffer)
	_ = c.SetWriteBuffer(wantBuffer)
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	if worse := inspect(raw).complaints(); len(worse) > 0 {
		log.Warn("link: the UDP socket is slower than it could be: "+strings.Join(worse, "; "),
			"fix", "sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000")
	}
}

// complaints returns what is worse than wanted.
func (f facts) complaints() (worse []string) {
	if f.readBuffer > 0 && f.readBuffer < wantBuffer {
		worse = append(worse, fmt.Sprintf("UDP receive buffer is %d KiB, wanted %d KiB", f.readBuffer>>10, wantBuffer>>10))
	}
	if f.writeBuffer > 0 && f.writeBuffer < wantBuffer {
		worse = append(worse, fmt.Sprintf("UDP send buffer is %d KiB, wanted %d KiB", f.writeBuffer>>10, wantBuffer>>10))
	}
	if !f.gso {
		worse = append(worse, "the kernel offers no UDP segmentation offload (GSO)")
	}
	return worse
}

type facts struct {
	// readBuffer and writeBuffer are sizes in bytes. 0 means unknown.
	readBuffer, writeBuffer int
	gso                     bool
}
