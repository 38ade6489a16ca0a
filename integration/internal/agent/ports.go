package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports are below the kernel's ephemeral range (from 32768 on Linux, from 49152 elsewhere), so that
// no outgoing connection and no other process's socket takes the port of an agent that is down.
const (
	firstPort = 20_000
	lastPort  = 32_767
)

// freePorts returns unused ports for n agents, including ports to join other datacenters if wan is
// true.
func freePorts(tb testing.TB, n int, wan bool) []ports {
	tb.Helper()
	all := make([]ports, n)
	// The sockets stay open until all ports are chosen, so that no port is chosen twice.
	var held []io.Closer
	defer func() {
		for _, c := range held {
			if err := c.Close(); err != nil {
				tb.Error(err)
			}
		}
	}()
	var wanted []*int
	for i := range all {
		p := &all[i]
		*p = ports{SerfWAN: -1, HTTPS: -1, GRPC: -1, GRPCTLS: -1, DNS: -1}
		wanted = append(wanted, &p.HTTP, &p.Server, &p.SerfLAN)
		if wan {
			wanted = append(wanted, &p.SerfWAN)
		}
	}
	for _, port := range wanted {
		var sockets []io.Closer
		var err error
		for range 100 {
			*port = firstPort + rand.IntN(lastPort-firstPort+1) //nolint:gosec // a port is not a secret
			if sockets, err = listen(*port); err == nil {
				break
			}
		}
		if err != nil {
			tb.Fatalf("no free port from %d to %d: %v", firstPort, lastPort, err)
		}
		held = append(held, sockets...)
	}
	return all
}

// listen opens TCP and UDP sockets on a port, because gossip needs both.
func listen(port int) ([]io.Closer, error) {
	var lc net.ListenConfig
	addr := fmt.Sprintf("%s:%d", loopback, port)
	tcp, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	udp, err := lc.ListenPacket(context.Background(), "udp", addr)
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return []io.Closer{tcp, udp}, nil
}
