package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"
)

// ownLeaf notes which certificate this side showed in a handshake. Sources renew theirs at
// any time, and crypto/tls does not tell which one it was.
type ownLeaf struct {
	leaf atomic.Pointer[x509.Certificate]
}

// watch notes what conf, which is of one handshake alone, gives to it.
func (o *ownLeaf) watch(conf *tls.Config) {
	if get := conf.GetCertificate; get != nil {
		conf.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return o.note(get(hello)) }
	}
	if get := conf.GetClientCertificate; get != nil {
		conf.GetClientCertificate = func(ask *tls.CertificateRequestInfo) (*tls.Certificate, error) { return o.note(get(ask)) }
	}
}

func (o *ownLeaf) note(cert *tls.Certificate, err error) (*tls.Certificate, error) {
	if err != nil || cert == nil || len(cert.Certificate) == 0 {
		return cert, err
	}
	leaf := cert.Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, err
		}
	}
	o.leaf.Store(leaf)
	return cert, nil
}

// get returns the certificate, nil if none was shown.
func (o *ownLeaf) get() *x509.Certificate { return o.leaf.Load() }

// ownOf returns what this side showed on an accepted connection.
func ownOf(ctx context.Context) *x509.Certificate {
	if h := handshakeOf(ctx); h != nil {
		return h.own.get()
	}
	return nil
}
