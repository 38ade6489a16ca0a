package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/linkmesh/link/internal/mtls"
)

// hostileChain returns the TLS configuration of a stranger. Its chain is a leaf
// below authorities that all have the same name and the same slow key, so that a
// search for a path tries them in every order.
func hostileChain() (*tls.Config, error) {
	slow, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	uri, err := url.Parse("spiffe://mesh.test/ns/default/svc/web")
	if err != nil {
		return nil, err
	}
	maze := &x509.Certificate{Subject: pkix.Name{CommonName: "maze"}}
	leaf := template(0)
	leaf.URIs, leaf.KeyUsage = []*url.URL{uri}, x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, leaf, maze, key.Public(), slow)
	if err != nil {
		return nil, err
	}
	shown := tls.Certificate{PrivateKey: key, Certificate: [][]byte{der}}
	for i := range mtls.MaxChainCertificates - 1 {
		ca := template(int64(i + 1))
		ca.Subject, ca.IsCA, ca.KeyUsage = maze.Subject, true, x509.KeyUsageCertSign
		ca.DNSNames = []string{fmt.Sprintf("d%d.test", i)}
		if der, err = x509.CreateCertificate(rand.Reader, ca, maze, slow.Public(), slow); err != nil {
			return nil, err
		}
		shown.Certificate = append(shown.Certificate, der)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{mtls.Protocol}, ServerName: "orders",
		InsecureSkipVerify:   true, //nolint:gosec // an attacker checks nobody
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown, nil },
	}, nil
}

func template(serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial + 1), BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
	}
}
