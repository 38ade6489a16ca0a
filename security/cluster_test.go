package security_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/mtls/mtlstest"
	"github.com/linkmesh/link/security"
)

func mustCluster(tb testing.TB, secret, service string) security.Source {
	tb.Helper()
	src, err := security.NewClusterSource(secret, service, "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := src.Close(); err != nil {
			tb.Error(err)
		}
	})
	return src
}

// testSecret is a fixed secret of 32 bytes.
func testSecret() []byte {
	secret := sha256.Sum256([]byte("link test secret"))
	return secret[:]
}

func spki(cert *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

func TestDerivedRootIsTheSameEverywhere(t *testing.T) {
	// Any change of this value would split running meshes.
	const golden = "87e45a72dce8f08565c0a00b51301213d539cdc26cd098f8de39976006f90477"
	root, err := security.DeriveCluster(testSecret())
	if err != nil {
		t.Fatal(err)
	}
	if got := sha256.Sum256(root.Raw); hex.EncodeToString(got[:]) != golden {
		t.Errorf("root has SHA-256 %x, want %s", got, golden)
	}
	again, err := security.DeriveCluster(testSecret())
	if err != nil || !bytes.Equal(root.Raw, again.Raw) {
		t.Errorf("the second root differs, %v", err)
	}
	changed := testSecret()
	changed[31] ^= 1
	other, err := security.DeriveCluster(changed)
	if err != nil || spki(root) == spki(other) {
		t.Errorf("another secret gives the same key, %v", err)
	}
	dev, err := security.DeriveWithDevLabel(testSecret(), security.ClusterTrustDomain)
	if err != nil || spki(root) == spki(dev) {
		t.Errorf("a dev secret gives the key of a cluster, %v", err)
	}
}

func TestDerivedCertificatesKeepTheProfile(t *testing.T) {
	src := mustCluster(t, security.NewSecret(), "orders")
	svid, err := src.SVID()
	if err != nil {
		t.Fatal(err)
	}
	leaf := svid.Certificate.Leaf
	if n := leaf.SerialNumber.BitLen(); n > 128 || n < 64 {
		t.Errorf("serial has %d bits", n)
	}
	if got := leaf.NotAfter.Sub(leaf.NotBefore).Minutes(); got != 24*60+1 {
		t.Errorf("leaf lives %v minutes", got)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != src.ID().String() || svid.ID != src.ID() {
		t.Errorf("leaf is for %v, source for %v", leaf.URIs, src.ID())
	}
	if leaf.PublicKeyAlgorithm != x509.ECDSA || len(leaf.Subject.Names) != 0 {
		t.Errorf("leaf has a key of %v and the subject %v", leaf.PublicKeyAlgorithm, leaf.Subject)
	}
	critical := map[string]bool{}
	for _, extension := range leaf.Extensions {
		critical[extension.Id.String()] = extension.Critical
	}
	if !critical["2.5.29.17"] || !critical["2.5.29.15"] {
		t.Errorf("names and key usage must be critical: %v", critical)
	}
	bundle, err := src.Bundle(security.ClusterTrustDomain)
	if err != nil {
		t.Fatal(err)
	}
	root := bundle.Roots()[0]
	if !root.PermittedDNSDomainsCritical || len(root.PermittedURIDomains) != 1 || root.PermittedURIDomains[0] != security.ClusterTrustDomain {
		t.Errorf("root is constrained to %v, critical %v", root.PermittedURIDomains, root.PermittedDNSDomainsCritical)
	}
	if err := mtlstest.SlowCheck(root, leaf, src.ID().String()); err != nil {
		t.Errorf("slow check: %v", err)
	}
}

func TestClusterMeetsOnlyItself(t *testing.T) {
	secret := security.NewSecret()
	web := mustCluster(t, secret, "web")
	mtlstest.MustConnect(t, web, mustCluster(t, secret, "orders"))

	client, server := mtlstest.Connect(t, web, mustCluster(t, security.NewSecret(), "orders"))
	mtlstest.ExpectRefusal(t, client.Err, security.ReasonUntrusted, false)
	if server.Err == nil {
		t.Error("a node of another secret was accepted")
	}
}

func TestRotationIsWithoutInterruption(t *testing.T) {
	before, after := security.NewSecret(), security.NewSecret()
	both, reversed := after+","+before, before+" , "+after+"\n"
	for _, tc := range []struct {
		name, client, server string
		meet                 bool
	}{
		{"both and old", both, before, true},
		{"old and both", before, both, true},
		{"both and both", both, both, true},
		{"both and new", both, after, true},
		{"new and both", after, both, true},
		{"rolling back: reversed and new", reversed, after, true},
		{"new and reversed", after, reversed, true},
		{"both and reversed", both, reversed, true},
		{"old and new", before, after, false},
		{"new and old", after, before, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, server := mtlstest.Connect(t, mustCluster(t, tc.client, "web"), mustCluster(t, tc.server, "orders"))
			if met := client.Err == nil && server.Err == nil; met != tc.meet {
				t.Errorf("met: %v, want %v; client %v, server %v", met, tc.meet, client.Err, server.Err)
			}
		})
	}
}

func TestSecretMayBeWrittenInSeveralWays(t *testing.T) {
	// raw has 34 bytes, so that base64 is padded, and has + / - _ in base64.
	raw := bytes.Repeat([]byte{0xfb, 0xff, 0xbe, 1, 2, 3, 4, 5, 6, 7, 8}, 3)
	raw = append(raw, 9)
	reference := mustCluster(t, hex.EncodeToString(raw), "web")
	for name, text := range map[string]string{
		"hex":               hex.EncodeToString(raw),
		"upper-case hex":    strings.ToUpper(hex.EncodeToString(raw)),
		"base64":            base64.StdEncoding.EncodeToString(raw),
		"raw base64":        base64.RawStdEncoding.EncodeToString(raw),
		"base64url":         base64.URLEncoding.EncodeToString(raw),
		"raw base64url":     base64.RawURLEncoding.EncodeToString(raw),
		"with a line break": base64.StdEncoding.EncodeToString(raw) + "\n",
	} {
		t.Run(name, func(t *testing.T) { mtlstest.MustConnect(t, reference, mustCluster(t, text, "orders")) })
	}
}

func TestBadSecretsAreRefusedUnseen(t *testing.T) {
	good := security.NewSecret()
	short := make([]byte, 31)
	copy(short, testSecret())
	for name, text := range map[string]string{
		"empty":              "",
		"blank":              "  \n",
		"eight bytes":        base64.StdEncoding.EncodeToString(testSecret()[:8]),
		"31 bytes":           base64.RawURLEncoding.EncodeToString(short),
		"31 bytes of hex":    hex.EncodeToString(short),
		"odd hex":            hex.EncodeToString(testSecret())[:61],
		"passphrase":         "correct horse battery staple, correct horse battery staple",
		"punctuation":        "!!" + good,
		"zeros":              strings.Repeat("0", 64),
		"one letter":         strings.Repeat("A", 64),
		"inner line break":   good[:20] + "\n" + good[20:],
		"inner space":        good[:20] + " " + good[20:],
		"three secrets":      good + "," + security.NewSecret() + "," + security.NewSecret(),
		"second empty":       good + ",",
		"first empty":        "," + good,
		"second short":       good + "," + good[:20],
		"the same twice":     good + "," + good,
		"far too long":       strings.Repeat(good, 100),
		"padding in between": good[:40] + "=" + good[40:],
		"trailing bits":      good[:42] + nextBase64(good[42]),
	} {
		src, err := security.NewClusterSource(text, "orders", "")
		if !errors.Is(err, security.ErrInvalid) || !strings.Contains(err.Error(), "invalid cluster secret") || src != nil {
			t.Errorf("%s: %v, want ErrInvalid about the cluster secret", name, err)
			continue
		}
		for _, part := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \n", r) }) {
			if len(part) >= 6 && strings.Contains(err.Error(), part[:6]) {
				t.Errorf("%s: the error shows the secret: %v", name, err)
			}
		}
		if !strings.Contains(err.Error(), "openssl rand -base64 32") && !strings.Contains(err.Error(), "new,old") &&
			!strings.Contains(err.Error(), "remove one") {
			t.Errorf("%s: the error does not say what to do: %v", name, err)
		}
	}
}

// nextBase64 returns the last base64 letter of 32 bytes with one of its unused bits set.
func nextBase64(last byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, last)|1])
}

func TestBadNamesAreRefused(t *testing.T) {
	for _, service := range []string{"", "../orders", "or ders"} {
		if src, err := security.NewClusterSource(security.NewSecret(), service, ""); !errors.Is(err, security.ErrInvalid) || !strings.Contains(err.Error(), "invalid SPIFFE ID") || src != nil {
			t.Errorf("service %q: %v, want ErrInvalid about the ID", service, err)
		}
	}
}

func TestNewSecretIsFreshAndLongEnough(t *testing.T) {
	one, two := security.NewSecret(), security.NewSecret()
	raw, err := base64.RawURLEncoding.DecodeString(one)
	if err != nil || len(raw) != 32 || one == two {
		t.Errorf("secrets %d bytes, the same: %v, %v", len(raw), one == two, err)
	}
}

func TestClusterSourceKnowsItself(t *testing.T) {
	src := mustCluster(t, security.NewSecret(), "orders")
	if src.Tier() != security.TierClusterSecret || src.ID().String() != "spiffe://cluster.link/ns/default/svc/orders" {
		t.Errorf("source is %v %v", src.Tier(), src.ID())
	}
	for _, domain := range []string{"", "dev.link", "sub.cluster.link", "CLUSTER.link", "cluster.link."} {
		if bundle, err := src.Bundle(domain); !errors.Is(err, security.ReasonTrustDomain) || bundle != nil {
			t.Errorf("Bundle(%q): %v, want ReasonTrustDomain", domain, err)
		}
	}
	if got := src.ID().Namespace(); got != discovery.DefaultNamespace || !src.ID().Advisory() {
		t.Errorf("namespace %q, advisory %t", got, src.ID().Advisory())
	}
	for range 2 {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := src.SVID(); !errors.Is(err, security.ErrClosed) {
		t.Errorf("SVID after Close: %v", err)
	}
	if _, err := src.Bundle(security.ClusterTrustDomain); !errors.Is(err, security.ErrClosed) {
		t.Errorf("Bundle after Close: %v", err)
	}
}

func TestAnotherSecretIsSaidWithoutAnExpectedIdentityThatIsTheSame(t *testing.T) {
	web, orders := mustCluster(t, security.NewSecret(), "web"), mustCluster(t, security.NewSecret(), "orders")
	client, _ := mtlstest.Connect(t, web, orders)
	mtlstest.ExpectRefusal(t, client.Err, security.ReasonUntrusted, false)
	text := client.Err.Error()
	if strings.Contains(text, "expected") || strings.Count(text, orders.ID().String()) != 1 {
		t.Errorf("it repeats the identity: %q", text)
	}
	if !strings.Contains(text, "do both nodes use the same LINK_CLUSTER_SECRET") {
		t.Errorf("it does not say what to check: %q", text)
	}
}

func TestAnotherIdentityIsSaidBesideTheExpectedOne(t *testing.T) {
	want, got := mustCluster(t, security.NewSecret(), "orders").ID(), mustCluster(t, security.NewSecret(), "mailer").ID()
	err := &security.VerifyError{Reason: security.ReasonWrongIdentity, Expected: want, Got: got}
	if text := err.Error(); !strings.Contains(text, "server "+got.String()) || !strings.Contains(text, "(expected "+want.String()+")") {
		t.Errorf("got %q", text)
	}
}
