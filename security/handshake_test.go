package security_test

import (
	"crypto/tls"
	"testing"

	"github.com/linkmesh/link/security"
)

// A side is the result of a handshake on one side. The client also reads the server's first byte, because in TLS 1.3
// only that tells the client that it was accepted.
type side struct {
	state tls.ConnectionState
	err   error
}

// handshake runs a real TLS handshake in memory.
func handshake(tb testing.TB, clientConfig, serverConfig *tls.Config) (client, server side) {
	tb.Helper()
	clientPipe, serverPipe := newPipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer serverPipe.Close()
		conn := tls.Server(serverPipe, serverConfig)
		if server.err = conn.HandshakeContext(tb.Context()); server.err == nil {
			_, server.err = conn.Write([]byte{1})
		}
		server.state = conn.ConnectionState()
	}()
	conn := tls.Client(clientPipe, clientConfig)
	if client.err = conn.HandshakeContext(tb.Context()); client.err == nil {
		_, client.err = conn.Read(make([]byte, 1))
	}
	client.state = conn.ConnectionState()
	clientPipe.Close()
	<-done
	return client, server
}

// connect runs a handshake between two sources. The client expects the identity that the server claims to have.
func connect(t *testing.T, clientSource, serverSource security.Source) (client, server side) {
	t.Helper()
	return handshake(t, security.ClientTLS(clientSource, serverSource.ID()), security.ServerTLS(serverSource))
}

func mustConnect(t *testing.T, clientSource, serverSource security.Source) (client, server side) {
	t.Helper()
	client, server = connect(t, clientSource, serverSource)
	if client.err != nil || server.err != nil {
		t.Fatalf("handshake failed: client %v, server %v", client.err, server.err)
	}
	return client, server
}

func mustID(tb testing.TB, uri string) security.ID {
	tb.Helper()
	id, err := security.ParseID(uri)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// bundleSource is a source whose bundles come from a function.
type bundleSource struct {
	security.Source
	bundle func(trustDomain string) (*security.Bundle, error)
}

func (s bundleSource) Bundle(trustDomain string) (*security.Bundle, error) {
	return s.bundle(trustDomain)
}
