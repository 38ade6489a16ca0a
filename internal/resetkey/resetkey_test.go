package resetkey

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestResetKeys checks that a process and its successor have the same key, and all others different ones.
func TestResetKeys(t *testing.T) {
	secret, other := bytes.Repeat([]byte{1}, secretSize), bytes.Repeat([]byte{2}, secretSize)
	derive := func(secret []byte, identity, host, addr string) [32]byte {
		key, err := Derive(secret, identity, host, addr)
		if err != nil {
			t.Fatal(err)
		}
		return *key
	}
	want := derive(secret, "spiffe://a/ns/b/svc/c", "host", "[::]:7443")
	if derive(secret, "spiffe://a/ns/b/svc/c", "host", "[::]:7443") != want {
		t.Error("the next process has another key")
	}
	for name, got := range map[string][32]byte{
		"another secret":   derive(other, "spiffe://a/ns/b/svc/c", "host", "[::]:7443"),
		"another identity": derive(secret, "spiffe://a/ns/b/svc/d", "host", "[::]:7443"),
		"another host":     derive(secret, "spiffe://a/ns/b/svc/c", "host2", "[::]:7443"),
		"another port":     derive(secret, "spiffe://a/ns/b/svc/c", "host", "[::]:7444"),
		"shifted parts":    derive(secret, "spiffe://a/ns/b/svc/chost", "", "[::]:7443"),
	} {
		if got == want {
			t.Errorf("%s: the same key", name)
		}
	}
}

// TestOneResetSecretForAFolder checks that nodes that start at the same time agree on one secret.
func TestOneResetSecretForAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "some", "where")
	secrets := make([][]byte, 16)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			var err error
			if secrets[i], err = Secret(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, secret := range secrets {
		if len(secret) != secretSize || !bytes.Equal(secret, secrets[0]) {
			t.Errorf("node %d has the secret %x, node 0 %x", i, secret, secrets[0])
		}
	}
}

// TestAResetSecretWhoseMakerWasKilledIsRead gives the file a second name, which remains if its maker is killed.
func TestAResetSecretWhoseMakerWasKilledIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := Secret(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, secretName)
	if err := os.Link(path, path+".half"); err != nil {
		t.Fatal(err)
	}
	if again, err := Secret(dir); err != nil || !bytes.Equal(again, first) {
		t.Errorf("the secret is %x, %v; want %x", again, err, first)
	}
}

// TestADamagedResetSecretIsSaid checks that a damaged secret is an error and is not used.
func TestADamagedResetSecretIsSaid(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := Secret(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, secretName)
	if err := os.Truncate(path, 7); err != nil {
		t.Fatal(err)
	}
	if _, err := Secret(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "7 bytes") {
		t.Errorf("a secret of 7 bytes: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", path); err != nil {
		t.Fatal(err)
	}
	if _, err := Secret(dir); err == nil || !strings.Contains(err.Error(), "link") {
		t.Errorf("a link in the place of the secret: %v", err)
	}
}
