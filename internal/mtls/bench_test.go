package mtls_test

import (
	"crypto/tls"
	"testing"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/mtls/mtlstest"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/security"
)

// showing is a source that presents the given certificate instead of its own.
type showing struct {
	security.Source
	certificate tls.Certificate
}

func (s showing) SVID() (*security.SVID, error) {
	return &security.SVID{ID: s.ID(), Certificate: s.certificate}, nil
}

func (s stranger) source(ca *securitytest.CA) security.Source {
	shown := tls.Certificate{PrivateKey: s.key}
	for _, cert := range s.certs {
		shown.Certificate = append(shown.Certificate, cert.Raw)
	}
	return showing{ca.Source("web"), shown}
}

// BenchmarkStranger measures a whole handshake, both sides and their keys included, with an honest client and with
// strangers. The figures in docs/security.md come from it.
func BenchmarkStranger(b *testing.B) {
	ca := securitytest.NewCA(b, "mesh.test")
	server := mtls.Server(ca.Source("orders"), mtls.Protocol)
	for name, src := range map[string]security.Source{
		"honest": ca.Source("web"), "honest, intermediate": ca.Source("web", securitytest.ViaIntermediate()),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if client, _ := mtlstest.Handshake(b, mtls.Client(src, ca.ID("orders"), mtls.Protocol), server); client.Err != nil {
					b.Fatal(client.Err)
				}
			}
		})
	}
	for _, s := range strangers(b, ca) {
		src := s.source(ca)
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				if client, _ := mtlstest.Handshake(b, mtls.Client(src, ca.ID("orders"), mtls.Protocol), server); client.Err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
