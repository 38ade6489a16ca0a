package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// A side is the end of a connection that a certificate is for.
type side string

const (
	serverSide side = "server"
	clientSide side = "client"
)

// serverName is the DNS name in every certificate.
const serverName = "localhost"

// A material is a folder of credentials that both processes read: a CA and one
// certificate for each side. It lives as long as the session and is the same
// for every peer.
type material struct{ dir string }

func (m material) caFile() string         { return filepath.Join(m.dir, "ca.pem") }
func (m material) certFile(s side) string { return filepath.Join(m.dir, string(s)+".pem") }
func (m material) keyFile(s side) string  { return filepath.Join(m.dir, string(s)+"-key.pem") }
func (m material) identity(s side) string { return "spiffe://bench.test/ns/default/svc/" + service(s) }
func (m material) remove()                { _ = os.RemoveAll(m.dir) }

// service returns the service name of a side: "echo" for the server and
// "caller" for the client.
func service(s side) string {
	if s == serverSide {
		return "echo"
	}
	return "caller"
}

// tls returns a mutual TLS 1.3 configuration for one side with the given ALPN.
func (m material) tls(s side, alpn ...string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(m.certFile(s), m.keyFile(s))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(m.caFile())
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", m.caFile())
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		NextProtos:   alpn,
		RootCAs:      pool,
		ServerName:   serverName,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}

// newMaterial makes fresh credentials in a temporary folder.
func newMaterial() (m material, err error) {
	dir, err := os.MkdirTemp("", "link-bench-")
	if err != nil {
		return material{}, err
	}
	m = material{dir}
	defer func() {
		if err != nil {
			m.remove()
			err = fmt.Errorf("make credentials: %w", err)
		}
	}()

	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "link bench CA"},
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return m, err
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return m, err
	}
	return m, errors.Join(
		writePEM(m.caFile(), "CERTIFICATE", der),
		m.issue(serverSide, 2, ca, caKey),
		m.issue(clientSide, 3, ca, caKey),
	)
}

// issue writes the certificate and key of one side.
func (m material) issue(s side, serial int64, ca *x509.Certificate, caKey *ecdsa.PrivateKey) error {
	id, err := url.Parse(m.identity(s))
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber:          big.NewInt(serial),
		NotBefore:             ca.NotBefore,
		NotAfter:              ca.NotAfter,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{id},
		DNSNames:              []string{serverName},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		writePEM(m.certFile(s), "CERTIFICATE", der),
		writePEM(m.keyFile(s), "PRIVATE KEY", keyDER),
	)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// newClusterSecret returns a value for link's LINK_CLUSTER_SECRET: 32 random
// bytes in base64url.
func newClusterSecret() string {
	secret := make([]byte, 32)
	// Read never fails.
	_, _ = rand.Read(secret)
	return base64.RawURLEncoding.EncodeToString(secret)
}
