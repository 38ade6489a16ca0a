package wire_test

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkmesh/link/security"
)

// TestRootsInDocsAreDerived checks that the example of section 14 of docs/wire.md
// is what package security derives, in both tiers.
func TestRootsInDocsAreDerived(t *testing.T) {
	text := readDocs(t)
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = byte(i)
	}
	file := base64.RawURLEncoding.EncodeToString(secret)
	for _, form := range []string{hex.EncodeToString(secret), file} {
		if !strings.Contains(text, "`"+form+"`") {
			t.Errorf("%s does not show the secret %s", docs, form)
		}
	}
	config := t.TempDir()
	// The platform decides which of these variables os.UserConfigDir reads.
	t.Setenv("HOME", config)
	t.Setenv("XDG_CONFIG_HOME", config)
	t.Setenv("AppData", config)
	folder, err := os.UserConfigDir()
	if err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(folder, "link")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "dev.secret"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster, err := security.NewClusterSource(hex.EncodeToString(secret), "orders", "")
	if err != nil {
		t.Fatal(err)
	}
	dev, err := security.NewDevSource("orders", "")
	if err != nil {
		t.Fatal(err)
	}

	rows := map[string]string{"seed": "| seed |", "key": "| public key |", "root": "| SHA-256 of the root's DER |"}
	for _, tier := range []struct {
		label  string
		source security.Source
	}{{"link/v1/root", cluster}, {"link/v1/dev-root", dev}} {
		seed, err := hkdf.Key(sha256.New, secret, nil, tier.label, ed25519.SeedSize)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := tier.source.Bundle(tier.source.ID().TrustDomain())
		if err != nil {
			t.Fatal(err)
		}
		root := bundle.Roots()[0]
		key, ok := root.PublicKey.(ed25519.PublicKey)
		if !ok || !key.Equal(ed25519.NewKeyFromSeed(seed).Public()) {
			t.Errorf("%s: the key of the root is not that of the seed", tier.label)
		}
		rows["seed"] += fmt.Sprintf(" `%x` |", seed)
		rows["key"] += fmt.Sprintf(" `%x` |", []byte(key))
		rows["root"] += fmt.Sprintf(" `%x` |", sha256.Sum256(root.Raw))
	}
	for _, row := range rows {
		if !strings.Contains(text, "\n"+row+"\n") {
			t.Errorf("%s has no row %s", docs, row)
		}
	}
}
