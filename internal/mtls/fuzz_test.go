package mtls_test

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/mtls/mtlstest"
	"github.com/linkmesh/link/security"
)

// FuzzVerifyChain mutates certificates and, so that mutations get past the signature, also the data that the true root
// signs. Whatever the verifier accepts, the independent slowCheck must accept, too.
func FuzzVerifyChain(f *testing.F) {
	secret := testSecret()
	src := mustCluster(f, base64.RawURLEncoding.EncodeToString(secret), "orders")
	seed, err := hkdf.Key(sha256.New, secret, nil, "link/v1/root", ed25519.SeedSize)
	if err != nil {
		f.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	bundle, err := src.Bundle(src.ID().TrustDomain())
	if err != nil {
		f.Fatal(err)
	}
	root := bundle.Roots()[0]
	svid, err := src.SVID()
	if err != nil {
		f.Fatal(err)
	}
	good := svid.Certificate.Leaf
	if err := verifyBothRoles(src, good); err != nil {
		f.Fatalf("an honest leaf is refused: %v", err)
	}
	resigned, err := x509.ParseCertificate(sign(f, key, good.RawTBSCertificate))
	if err != nil {
		f.Fatal(err)
	}
	if err := verifyBothRoles(src, resigned); err != nil {
		f.Fatalf("an honest leaf signed again is refused: %v", err)
	}
	f.Add(good.Raw, false)
	f.Add(good.RawTBSCertificate, true)
	f.Add(root.Raw, false)
	f.Add(root.RawTBSCertificate, true)
	// Near misses: leaves with one flipped bit, in names, usages, dates and so on.
	for i := 0; i < len(good.RawTBSCertificate); i += 7 {
		changed := append([]byte(nil), good.RawTBSCertificate...)
		changed[i] ^= 1 << (i % 8)
		f.Add(changed, true)
	}
	f.Fuzz(func(t *testing.T, der []byte, resign bool) {
		if resign {
			der = sign(t, key, der)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if verifyBothRoles(src, leaf) != nil {
			return
		}
		if err := mtlstest.SlowCheck(root, leaf, src.ID().String()); err != nil {
			t.Fatalf("the verifier took a leaf that %v: %x", err, der)
		}
	})
}

func verifyBothRoles(src security.Source, leaf *x509.Certificate) error {
	state := tls.ConnectionState{
		Version: tls.VersionTLS13, HandshakeComplete: true, NegotiatedProtocol: mtls.Protocol,
		PeerCertificates: []*x509.Certificate{leaf},
	}
	asClient := mtls.Verify(src, false, src.ID(), state)
	asServer := mtls.Verify(src, true, security.ID{}, state)
	// A leaf is valid in both roles or in neither.
	if asClient == nil && asServer != nil {
		return asServer
	}
	return errors.Join(asClient)
}

// sign returns the DER of a certificate with the body tbs, signed with key.
func sign(tb testing.TB, key ed25519.PrivateKey, tbs []byte) []byte {
	tb.Helper()
	signature := ed25519.Sign(key, tbs)
	algorithm, err := asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 112}})
	if err != nil {
		tb.Fatal(err)
	}
	bits, err := asn1.Marshal(asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)})
	if err != nil {
		tb.Fatal(err)
	}
	body := append(append(append([]byte(nil), tbs...), algorithm...), bits...)
	der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: body})
	if err != nil {
		tb.Fatal(err)
	}
	return der
}
