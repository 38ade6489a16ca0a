package mtls_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"net/url"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/mtls/mtlstest"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/security"
)

// A maker makes certificates with any subject and issuer, signed with any key.
type maker struct {
	subject, issuer string
	// rawIssuer replaces issuer if it is not nil.
	rawIssuer []byte
	// keyID and issuerID are key identifiers, or nil for none.
	keyID, issuerID []byte
	key, signer     crypto.Signer
	leaf            bool
}

func (m maker) make(tb testing.TB, change ...func(*x509.Certificate)) *x509.Certificate {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, SubjectKeyId: m.keyID,
	}
	if m.leaf {
		uri, err := url.Parse("spiffe://mesh.test/ns/default/svc/web")
		if err != nil {
			tb.Fatal(err)
		}
		template.URIs = []*url.URL{uri}
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	} else {
		template.Subject = pkix.Name{CommonName: m.subject}
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	}
	for _, f := range change {
		f(template)
	}
	// For an authority, crypto/x509 would make an identifier.
	if template.IsCA && m.keyID == nil {
		withoutKeyID(tb, template)
	}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: m.issuer}, SubjectKeyId: m.issuerID, RawSubject: m.rawIssuer}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, m.key.Public(), m.signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// withoutKeyID encodes an authority's basic constraints as an extension, so that crypto/x509 adds no key identifier.
func withoutKeyID(tb testing.TB, template *x509.Certificate) {
	tb.Helper()
	constraints := struct {
		IsCA       bool
		MaxPathLen int `asn1:"optional,default:-1"`
	}{true, -1}
	if template.MaxPathLen > 0 || template.MaxPathLenZero {
		constraints.MaxPathLen = template.MaxPathLen
	}
	value, err := asn1.Marshal(constraints)
	if err != nil {
		tb.Fatal(err)
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLen, template.MaxPathLenZero = false, false, 0, false
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{
		Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: value,
	})
}

// A stranger is a chain that the mesh has not signed, or of which it has signed only the upper part.
type stranger struct {
	name  string
	certs []*x509.Certificate
	// key is the leaf's key.
	key    crypto.Signer
	reason security.Reason
	// checks is the number of signatures that are checked before the chain is refused.
	checks int
}

// rootOfMesh is the name that securitytest gives the root.
const rootOfMesh = "root of mesh.test"

// ladder returns a leaf and the authorities above it, each signed by the next and the last by a new key in the name of
// top. It also returns the leaf's key.
func ladder(tb testing.TB, curve elliptic.Curve, n int, top string) ([]*x509.Certificate, crypto.Signer) {
	tb.Helper()
	leafKey := crypto.Signer(testKey(tb, elliptic.P256()))
	certs := make([]*x509.Certificate, 0, n)
	key, issuer := leafKey, ""
	for i := range n {
		signer := crypto.Signer(testKey(tb, curve))
		m := maker{subject: issuer, issuer: fmt.Sprintf("authority %d", i), key: key, signer: signer, leaf: i == 0}
		if i == n-1 {
			m.issuer = top
		}
		certs = append(certs, m.make(tb))
		key, issuer = signer, m.issuer
	}
	return certs, leafKey
}

func testKey(tb testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func strangers(tb testing.TB, ca *securitytest.CA) []stranger {
	tb.Helper()
	p521 := elliptic.P521()
	leafKey := testKey(tb, elliptic.P256())
	var rows []stranger

	// A regression: many authorities with one name and one key, so that a search for a path tries them in every order.
	shared := testKey(tb, p521)
	maze := []*x509.Certificate{maker{issuer: "maze", key: leafKey, signer: shared, leaf: true}.make(tb)}
	for i := range mtls.MaxChainCertificates - 1 {
		maze = append(maze, maker{subject: "maze", issuer: "maze", key: shared, signer: shared}.make(tb, func(cert *x509.Certificate) {
			// Without distinct names, crypto/x509 would take them for one certificate.
			cert.DNSNames = []string{fmt.Sprintf("d%d.test", i)}
		}))
	}
	rows = append(rows, stranger{"one name, one key", maze, leafKey, security.ReasonRepeated, 0})

	names := slices.Clone(maze[:1])
	for len(names) < mtls.MaxChainCertificates {
		names = append(names, maker{subject: "maze", issuer: "maze", key: testKey(tb, p521), signer: shared}.make(tb))
	}
	rows = append(rows, stranger{"one name, many keys", names, leafKey, security.ReasonRepeated, 0})

	keys := slices.Clone(maze[:1])
	for i := range mtls.MaxChainCertificates - 1 {
		keys = append(keys, maker{subject: fmt.Sprint("maze ", i), issuer: "maze", key: shared, signer: shared}.make(tb))
	}
	rows = append(rows, stranger{"many names, one key", keys, leafKey, security.ReasonRepeated, 0})

	long, key := ladder(tb, p521, mtls.MaxChainCertificates, "nobody")
	rows = append(rows, stranger{"a long chain of P-521 to nobody", long, key, security.ReasonUntrusted, 0})
	long, key = ladder(tb, p521, mtls.MaxChainCertificates, rootOfMesh)
	rows = append(rows, stranger{"a long chain of P-521 in the root's name", long, key, security.ReasonUntrusted, 1})

	var claims []*x509.Certificate
	for i := range mtls.MaxChainCertificates {
		m := maker{subject: fmt.Sprint("claim ", i), issuer: rootOfMesh, key: testKey(tb, p521), signer: shared}
		if i == 0 {
			m.key, m.leaf = leafKey, true
		}
		claims = append(claims, m.make(tb))
	}
	rows = append(rows, stranger{"every certificate claims the root", claims, leafKey, security.ReasonUntrusted, 1})
	renewed := maker{subject: rootOfMesh, issuer: rootOfMesh, key: testKey(tb, p521), signer: shared}.make(tb)
	rows = append(rows, stranger{"as if the root were renewed", []*x509.Certificate{claims[0], renewed}, leafKey, security.ReasonUntrusted, 2})

	for _, odd := range []struct {
		name string
		key  *rsa.PublicKey
	}{
		{"RSA of 8192 bits", &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8191, 1), E: 65537}},
		{"RSA of 4104 bits", &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 4103, 1), E: 65537}},
		{"RSA with a large exponent", &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2047, 1), E: 1<<31 - 1}},
		{"RSA with an even exponent", &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2047, 1), E: 65536}},
	} {
		m := maker{subject: "big", issuer: rootOfMesh, key: publicOnly{odd.key}, signer: shared}
		leaf := maker{issuer: "big", key: leafKey, signer: shared, leaf: true}.make(tb)
		rows = append(rows, stranger{odd.name, []*x509.Certificate{leaf, m.make(tb)}, leafKey, security.ReasonWeak, 0})
	}

	// An attacker can replay a true authority of the mesh, seen in a handshake, above a leaf that it did not sign.
	replayed := mustSVID(tb, ca.Source("orders", securitytest.ViaIntermediate())).Certificate.Certificate[1]
	true1, err := x509.ParseCertificate(replayed)
	if err != nil {
		tb.Fatal(err)
	}
	forged := maker{issuer: true1.Subject.CommonName, issuerID: true1.SubjectKeyId, key: leafKey, signer: shared, leaf: true}.make(tb)
	rows = append(rows,
		stranger{"below a true authority", []*x509.Certificate{forged, true1}, leafKey, security.ReasonUntrusted, 2},
		stranger{"below a true authority, padded", append([]*x509.Certificate{forged, true1}, long[1:4]...), leafKey, security.ReasonUntrusted, 2})

	many := maker{issuer: rootOfMesh, key: leafKey, signer: shared, leaf: true}.make(tb, func(leaf *x509.Certificate) {
		for i := range 1000 {
			leaf.IPAddresses = append(leaf.IPAddresses, net.IPv4(10, 0, byte(i>>8), byte(i)))
		}
	})
	rows = append(rows, stranger{"a thousand addresses", []*x509.Certificate{many}, leafKey, security.ReasonUntrusted, 1})
	// Package pkix prints a name in time that grows with the square of its length.
	bulky := maker{rawIssuer: bulkyName(2000), key: leafKey, signer: leafKey, leaf: true}.make(tb)
	rows = append(rows, stranger{"issuer of 2,000 attributes", []*x509.Certificate{bulky}, leafKey, security.ReasonUntrusted, 0})
	constrained := maker{subject: "c", issuer: rootOfMesh, key: shared, signer: shared}.make(tb, func(cert *x509.Certificate) {
		for i := range 900 {
			cert.ExcludedURIDomains = append(cert.ExcludedURIDomains, fmt.Sprintf("d%d.test", i))
		}
	})
	below := maker{issuer: "c", key: leafKey, signer: shared, leaf: true}.make(tb)
	return append(rows, stranger{"a thousand name constraints", []*x509.Certificate{below, constrained}, leafKey, security.ReasonUntrusted, 1})
}

// bulkyName returns the DER of a name with n attributes in one set, each of seven bytes: the type 1.2 and an empty
// string.
func bulkyName(n int) []byte {
	attributes := bytes.Repeat([]byte{0x30, 5, 6, 1, 0x2a, 0x13, 0}, n)
	set := append([]byte{0x31, 0x82, byte(len(attributes) >> 8), byte(len(attributes))}, attributes...)
	return append([]byte{0x30, 0x82, byte(len(set) >> 8), byte(len(set))}, set...)
}

// publicOnly is the public half of a key whose private half is never needed.
type publicOnly struct{ key *rsa.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.key }
func (p publicOnly) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no private key")
}

func mustSVID(tb testing.TB, src security.Source) *security.SVID {
	tb.Helper()
	svid, err := src.SVID()
	if err != nil {
		tb.Fatal(err)
	}
	return svid
}

const (
	// maxGarbage bounds the bytes that are allocated to judge a stranger's chain and to say why it is refused.
	maxGarbage = 256 << 10
	// maxRefusal bounds the text of a refusal, in bytes.
	maxRefusal = 1 << 10
)

// garbageOf returns how many bytes f allocates: the least of three runs, because other goroutines allocate, too.
func garbageOf(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

func TestAStrangerCostsFewSignatures(t *testing.T) { // SEC-120
	ca := securitytest.NewCA(t, "mesh.test")
	honest, err := mtls.SignatureChecks(ca.Bundle(), shown(t, ca.Source("web")))
	if err != nil || honest != 1 {
		t.Fatalf("an honest leaf: %d signatures, %v; want 1", honest, err)
	}
	for _, tc := range strangers(t, ca) {
		t.Run(tc.name, func(t *testing.T) {
			size := 0
			for _, cert := range tc.certs {
				size += len(cert.Raw)
			}
			if size > mtls.MaxChainBytes || len(tc.certs) > mtls.MaxChainCertificates {
				t.Fatalf("%d bytes, %d certificates: refused for its size, which shows nothing", size, len(tc.certs))
			}
			checks, err := mtls.SignatureChecks(ca.Bundle(), tc.certs)
			if garbage := garbageOf(func() {
				if _, err := mtls.SignatureChecks(ca.Bundle(), tc.certs); err == nil || len(err.Error()) > maxRefusal {
					t.Errorf("got %v, want a refusal of at most %d bytes", err, maxRefusal)
				}
			}); garbage > maxGarbage {
				t.Errorf("%d bytes were allocated to judge it and to say why, want at most %d", garbage, maxGarbage)
			}
			mtlstest.ExpectRefusal(t, err, tc.reason, true)
			if checks != tc.checks {
				t.Errorf("%d signatures were checked, want %d", checks, tc.checks)
			}
			// A dialer judges a server by the same rules.
			client, _ := mtlstest.Handshake(t, mtls.Client(ca.Source("web"), ca.ID("web"), mtls.Protocol), mtls.Server(tc.source(ca), mtls.Protocol))
			mtlstest.ExpectRefusal(t, client.Err, tc.reason, false)
			if checks > 3*honest {
				t.Errorf("%d signatures were checked, more than 3 times the %d of an honest peer", checks, honest)
			}
		})
	}
}

func shown(t *testing.T, src security.Source) []*x509.Certificate {
	t.Helper()
	var certs []*x509.Certificate
	for _, der := range mustSVID(t, src).Certificate.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	return certs
}
