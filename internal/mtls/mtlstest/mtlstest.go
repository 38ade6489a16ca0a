// Package mtlstest runs handshakes in memory, for the tests of packages security and mtls.
package mtlstest

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/security"
)

// A Side is the result of a handshake on one side. The client also reads the server's first byte, because in TLS 1.3
// only that tells the client that it was accepted.
type Side struct {
	State tls.ConnectionState
	Err   error
}

// Handshake runs a real TLS handshake in memory.
func Handshake(tb testing.TB, clientConfig, serverConfig *tls.Config) (client, server Side) {
	tb.Helper()
	clientPipe, serverPipe := newPipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer serverPipe.Close()
		conn := tls.Server(serverPipe, serverConfig)
		if server.Err = conn.HandshakeContext(tb.Context()); server.Err == nil {
			_, server.Err = conn.Write([]byte{1})
		}
		server.State = conn.ConnectionState()
	}()
	conn := tls.Client(clientPipe, clientConfig)
	if client.Err = conn.HandshakeContext(tb.Context()); client.Err == nil {
		_, client.Err = conn.Read(make([]byte, 1))
	}
	client.State = conn.ConnectionState()
	_ = clientPipe.Close() // a pipe closes without an error
	<-done
	return client, server
}

// Connect runs a handshake between two sources. The client expects the identity that the server claims to have.
func Connect(t *testing.T, clientSource, serverSource security.Source) (client, server Side) {
	t.Helper()
	return Handshake(t, mtls.Client(clientSource, serverSource.ID(), mtls.Protocol), mtls.Server(serverSource, mtls.Protocol))
}

// MustConnect is [Connect] for sources that must accept each other.
func MustConnect(t *testing.T, clientSource, serverSource security.Source) (client, server Side) {
	t.Helper()
	client, server = Connect(t, clientSource, serverSource)
	if client.Err != nil || server.Err != nil {
		t.Fatalf("handshake failed: client %v, server %v", client.Err, server.Err)
	}
	return client, server
}

// ExpectRefusal checks that a side refused its peer for a reason; 0 stands for crypto/tls itself. Accepting is set for
// the server's side.
func ExpectRefusal(t *testing.T, err error, reason security.Reason, accepting bool) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	var refusal *security.VerifyError
	if !errors.As(err, &refusal) {
		if reason != 0 {
			t.Fatalf("refused with %v, want reason %v", err, reason)
		}
		return
	}
	if refusal.Reason != reason || refusal.Accepted != accepting {
		t.Fatalf("refused for %v by the accepting side %t, want %v by %t: %v", refusal.Reason, refusal.Accepted, reason, accepting, err)
	}
	if refusal.Expected.IsZero() != accepting {
		t.Errorf("expected identity is %q on the accepting side %t", refusal.Expected, accepting)
	}
	if text := err.Error(); !strings.Contains(text, reason.String()) || len(text) > 1500 || strings.Contains(text, "\n") {
		t.Errorf("unhelpful text: %q", text)
	}
}

// MustID parses an ID that must be valid.
func MustID(tb testing.TB, uri string) security.ID {
	tb.Helper()
	id, err := security.ParseID(uri)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// MalformedURIs returns URIs that resemble IDs and are none.
func MalformedURIs() []string {
	return []string{
		"",
		"spiffe://",
		"spiffe://mesh.test",
		"spiffe://mesh.test/",
		"spiffe://mesh.test/orders",
		"spiffe://mesh.test/ns/default/svc",
		"spiffe://mesh.test/ns/default/svc/",
		"spiffe://mesh.test/ns/default/svc/orders/",
		"spiffe://mesh.test/ns/default/svc/orders/x",
		"spiffe://mesh.test//ns/default/svc/orders",
		"spiffe://mesh.test/ns//svc/orders",
		"spiffe://mesh.test/ns/default/SVC/orders",
		"spiffe://mesh.test/NS/default/svc/orders",
		"spiffe://mesh.test/ns/default/dc/dc1/svc/orders",
		"SPIFFE://mesh.test/ns/default/svc/orders",
		"spiffe:mesh.test/ns/default/svc/orders",
		"https://mesh.test/ns/default/svc/orders",
		"spiffe://MESH.test/ns/default/svc/orders",
		"spiffe://mesh.test./ns/default/svc/orders",
		"spiffe://mesh.test:443/ns/default/svc/orders",
		"spiffe://mesh.test:/ns/default/svc/orders",
		"spiffe://root@mesh.test/ns/default/svc/orders",
		"spiffe://@mesh.test/ns/default/svc/orders",
		"spiffe://mesh.test/ns/default/svc/orders?",
		"spiffe://mesh.test/ns/default/svc/orders?a=b",
		"spiffe://mesh.test/ns/default/svc/orders#",
		"spiffe://mesh.test/ns/default/svc/orders#x",
		"spiffe://mesh.test/ns/default/svc/%6frders",
		"spiffe://mesh%2etest/ns/default/svc/orders",
		"spiffe://mesh.test/ns/default/svc/../svc/orders",
		" spiffe://mesh.test/ns/default/svc/orders",
		"spiffe://mesh.test/ns/default/svc/orders ",
	}
}
