package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"
)

// ownLeaf records which certificate this side presented in a handshake. Certificate sources
// may renew theirs at any time, and crypto/tls does not report which one it used.
type ownLeaf struct {
	leaf atomic.Pointer[x509.Certificate]
}

// watch makes conf, which must serve only one handshake, record the certificate that it
// provides.
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

// get returns the certificate, or nil if none was presented.
func (o *ownLeaf) get() *x509.Certificate { return o.leaf.Load() }

// ownOf returns the certificate that this side presented on an accepted connection, or nil.
func ownOf(ctx context.Context) *x509.Certificate {
	if h := handshakeOf(ctx); h != nil {
		return h.own.get()
	}
	return nil
}
