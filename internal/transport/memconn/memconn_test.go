package memconn_test

import (
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/transport/carriertest"
	"github.com/linkmesh/link/internal/transport/memconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnectionsInMemoryKeepThePromisesOfCarriers(t *testing.T) {
	carriertest.Test(t, func(t *testing.T, streams int) (dialer, acceptor carrier.Conn) {
		t.Helper()
		a, b := memconn.Pair(t.Context(), t.Context(),
			memconn.End{Addr: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7443}},
			memconn.End{Addr: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 7443}, Streams: streams})
		t.Cleanup(func() { a.Close(0, "the test is over") })
		return a, b
	})
}
