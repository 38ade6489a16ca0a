package mtls_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/mtls/mtlstest"
	"github.com/linkmesh/link/security"
)

// A forest makes certificates whose names, keys, signers and key identifiers match or not at random.
type forest struct {
	tb   testing.TB
	pick *mathrand.Rand
	keys []ed25519.PrivateKey
}

func (f *forest) key() ed25519.PrivateKey { return f.keys[f.pick.IntN(len(f.keys))] }

func (f *forest) name() string { return string(rune('A' + f.pick.IntN(3))) }

// id returns the key identifier of a key, or sometimes nil.
func (f *forest) id(key ed25519.PrivateKey) []byte {
	if f.pick.IntN(3) == 0 {
		return nil
	}
	return key.Public().(ed25519.PublicKey)[:8] //nolint:errcheck,forcetypeassert // by its documentation
}

// cert makes a certificate. If below is not nil, it mostly has the key and name that issued below's certificate.
func (f *forest) cert(leaf bool, below *maker) (*x509.Certificate, *maker) {
	key, signer, subject := f.key(), f.key(), f.name()
	if below != nil && f.pick.IntN(5) > 0 {
		key, subject = below.signer.(ed25519.PrivateKey), below.issuer //nolint:errcheck,forcetypeassert // made here
	}
	m := &maker{subject: subject, issuer: f.name(), key: key, signer: signer, keyID: f.id(key), issuerID: f.id(signer), leaf: leaf}
	return m.make(f.tb, func(cert *x509.Certificate) {
		switch f.pick.IntN(12) {
		case 0:
			cert.MaxPathLen, cert.MaxPathLenZero = 0, true
		case 1:
			cert.IsCA, cert.MaxPathLen = false, -1
		case 2:
			cert.PermittedURIDomains = []string{"other.test"}
		case 3:
			cert.NotAfter = time.Now().Add(-time.Second)
		}
		if leaf {
			cert.IsCA, cert.MaxPathLen, cert.MaxPathLenZero, cert.PermittedURIDomains = false, -1, false, nil
		}
	}), m
}

// claims reports whether cert says that parent issued it.
func claims(cert, parent *x509.Certificate) bool {
	a, b := cert.AuthorityKeyId, parent.SubjectKeyId
	return bytes.Equal(cert.RawIssuer, parent.RawSubject) && (len(a) == 0 || len(b) == 0 || bytes.Equal(a, b))
}

// linear is an independent definition of which chains are in order: some root issued one of the certificates, and each
// certificate before that one was issued by the next. It has no budget. tries is the number of roots it had to check.
func linear(certs []*x509.Certificate, roots []*x509.Certificate) (path []*x509.Certificate, by *x509.Certificate, tries int) {
	for at := range certs {
		for _, root := range roots {
			if !claims(certs[at], root) {
				continue
			}
			tries++
			if certs[at].CheckSignatureFrom(root) != nil {
				continue
			}
			for i := range at {
				if !claims(certs[i], certs[i+1]) || certs[i].CheckSignatureFrom(certs[i+1]) != nil {
					return nil, nil, tries
				}
			}
			return certs[:at+1], root, tries
		}
	}
	return nil, nil, tries
}

func repeats(certs []*x509.Certificate) bool {
	for i, a := range certs {
		for _, b := range certs[:i] {
			if bytes.Equal(a.RawSubject, b.RawSubject) || bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo) {
				return true
			}
		}
	}
	return false
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, cert := range certs {
		p.AddCert(cert)
	}
	return p
}

// TestChainsAreTakenExactlyIfTheyAreInOrder checks that random chains are accepted exactly if they are in order and
// x509 accepts the path that they form. x509 must then also find a path by itself among all certificates shown.
func TestChainsAreTakenExactlyIfTheyAreInOrder(t *testing.T) {
	f := &forest{tb: t, pick: mathrand.New(mathrand.NewPCG(1, 2))}
	for range 4 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		f.keys = append(f.keys, key)
	}
	var taken, deep, refused int
	for tries := 0; taken < 100 || deep < 20 || refused < 100; tries++ {
		if tries == 20_000 {
			t.Fatalf("%d taken, of which %d through an authority, and %d refused: the test shows little", taken, deep, refused)
		}
		leaf, last := f.cert(true, nil)
		certs := []*x509.Certificate{leaf}
		makers := []*maker{last}
		for range f.pick.IntN(4) {
			next, m := f.cert(false, last)
			certs, makers, last = append(certs, next), append(makers, m), m
		}
		first, _ := f.cert(false, makers[f.pick.IntN(len(makers))])
		roots := []*x509.Certificate{first}
		if f.pick.IntN(3) == 0 {
			if other, _ := f.cert(false, last); !bytes.Equal(other.RawSubjectPublicKeyInfo, roots[0].RawSubjectPublicKeyInfo) {
				roots = append(roots, other)
			}
		}
		bundle, err := security.NewBundle("mesh.test", roots...)
		// Roots that are not authorities make no bundle.
		if err != nil {
			continue
		}
		path, root, tries := linear(certs, roots)
		// These are more claimed roots than the verifier checks.
		if tries > 2 {
			continue
		}
		want := root != nil && !repeats(certs)
		if want {
			_, err := path[0].Verify(x509.VerifyOptions{
				Roots: pool([]*x509.Certificate{root}), Intermediates: pool(path[1:]), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			})
			want = err == nil
		}
		checks, err := mtls.SignatureChecks(bundle, certs)
		if (err == nil) != want {
			t.Fatalf("taken: %v, want %v: %v; chain of %d, path of %d", err == nil, want, err, len(certs), len(path))
		}
		if most := 2*len(certs) + 2; checks > most {
			t.Fatalf("%d signatures checked in a chain of %d, at most %d expected", checks, len(certs), most)
		}
		if !want {
			refused++
			continue
		}
		taken++
		if len(path) > 1 {
			deep++
		}
		if _, err := certs[0].Verify(x509.VerifyOptions{
			Roots: pool(roots), Intermediates: pool(certs[1:]), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}); err != nil {
			t.Fatalf("taken, and x509 does not: %v", err)
		}
	}
	t.Logf("%d taken, of which %d through an authority, and %d refused", taken, deep, refused)
}

// TestARenewedRootIsValid checks that a root that was renewed with the same key, name and identifier is accepted beside
// the expired one, in any order.
func TestARenewedRootIsValid(t *testing.T) {
	key := testKey(t, elliptic.P256())
	m := maker{subject: "root", issuer: "root", keyID: []byte("k"), issuerID: []byte("k"), key: key, signer: key}
	expired := m.make(t, func(cert *x509.Certificate) { cert.NotAfter = time.Now().Add(-time.Second) })
	renewed := m.make(t)
	leaf := maker{issuer: "root", issuerID: []byte("k"), key: testKey(t, elliptic.P256()), signer: key, leaf: true}.make(t)
	for _, roots := range [][]*x509.Certificate{{renewed}, {expired, renewed}, {renewed, expired}} {
		bundle, err := security.NewBundle("mesh.test", roots...)
		if err != nil {
			t.Fatal(err)
		}
		if checks, err := mtls.SignatureChecks(bundle, []*x509.Certificate{leaf}); err != nil || checks != 1 {
			t.Errorf("%d signatures, %v; want 1 and acceptance", checks, err)
		}
	}
	bundle, err := security.NewBundle("mesh.test", expired)
	if err != nil {
		t.Fatal(err)
	}
	_, err = mtls.SignatureChecks(bundle, []*x509.Certificate{leaf})
	mtlstest.ExpectRefusal(t, err, security.ReasonExpired, true)
}

// TestRootsOfOneName checks that two roots with one name and without key identifiers are told apart by their signatures.
// A third is refused when the bundle is made, rather than ignored in handshakes.
func TestRootsOfOneName(t *testing.T) {
	var roots []*x509.Certificate
	var leaves []*x509.Certificate
	for range 3 {
		key := testKey(t, elliptic.P256())
		roots = append(roots, maker{subject: "root", issuer: "root", key: key, signer: key}.make(t))
		leaves = append(leaves, maker{issuer: "root", key: testKey(t, elliptic.P256()), signer: key, leaf: true}.make(t))
	}
	bundle, err := security.NewBundle("mesh.test", roots[:2]...)
	if err != nil {
		t.Fatal(err)
	}
	for i, leaf := range leaves[:2] {
		if checks, err := mtls.SignatureChecks(bundle, []*x509.Certificate{leaf}); err != nil || checks != i+1 {
			t.Errorf("leaf of root %d: %d signatures, %v", i, checks, err)
		}
	}
	if _, err := security.NewBundle("mesh.test", roots...); !errors.Is(err, security.ErrInvalid) {
		t.Error("three roots that only a signature tells apart make a bundle")
	}
}
