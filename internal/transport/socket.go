package transport

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
)

// wantBuffer is the size of the kernel's UDP buffers that quic-go asks for.
const wantBuffer = 7 << 20

// checkSocket says in one line what about the socket costs throughput, if
// anything does, and how to change it.
func checkSocket(conn net.PacketConn, log *slog.Logger) {
	c, ok := conn.(interface {
		SyscallConn() (syscall.RawConn, error)
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	})
	if !ok {
		return // not a kernel socket
	}
	_ = c.SetReadBuffer(wantBuffer)  // what counts is the size it has then
	_ = c.SetWriteBuffer(wantBuffer) // as above
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	facts := inspectSocket(raw)
	var worse []string
	if facts.readBuffer > 0 && facts.readBuffer < wantBuffer {
		worse = append(worse, fmt.Sprintf("UDP receive buffer is %d KiB, wanted %d KiB", facts.readBuffer>>10, wantBuffer>>10))
	}
	if facts.writeBuffer > 0 && facts.writeBuffer < wantBuffer {
		worse = append(worse, fmt.Sprintf("UDP send buffer is %d KiB, wanted %d KiB", facts.writeBuffer>>10, wantBuffer>>10))
	}
	if !facts.gso {
		worse = append(worse, "the kernel offers no UDP segmentation offload (GSO)")
	}
	if len(worse) > 0 {
		log.Warn("link: the UDP socket is slower than it could be: "+strings.Join(worse, "; "),
			"fix", "sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000")
	}
}

type socketFacts struct {
	readBuffer, writeBuffer int // bytes; 0 is unknown
	gso                     bool
}
