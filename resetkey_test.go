package link

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/security"
)

// TestResetKeys checks that a process and its successor have the same key, and all others different ones.
func TestResetKeys(t *testing.T) {
	secret, other := bytes.Repeat([]byte{1}, resetSecretSize), bytes.Repeat([]byte{2}, resetSecretSize)
	derive := func(secret []byte, identity, host, addr string) [32]byte {
		key, err := deriveResetKey(secret, identity, host, addr)
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
			if secrets[i], err = resetSecret(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, secret := range secrets {
		if len(secret) != resetSecretSize || !bytes.Equal(secret, secrets[0]) {
			t.Errorf("node %d has the secret %x, node 0 %x", i, secret, secrets[0])
		}
	}
}

// TestAResetSecretWhoseMakerWasKilledIsRead gives the file a second name, which remains if its maker is killed.
func TestAResetSecretWhoseMakerWasKilledIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := resetSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, resetSecretName)
	if err := os.Link(path, path+".half"); err != nil {
		t.Fatal(err)
	}
	if again, err := resetSecret(dir); err != nil || !bytes.Equal(again, first) {
		t.Errorf("the secret is %x, %v; want %x", again, err, first)
	}
}

// TestMembersCannotForgeResets is SEC-342. It checks that the key does not follow from what the
// members of a cluster share, and that a node that must not have a key gets none.
func TestMembersCannotForgeResets(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7443}
	key := func(addr, dir string) (*[32]byte, string) {
		registry, err := static.New()
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		n, err := New(Config{Service: "orders", Addr: addr, StateDir: dir, Registry: registry, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}()
		return n.resetKey(at), log.String()
	}
	mine, theirs := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	first, _ := key("127.0.0.1:7443", mine)
	again, _ := key("127.0.0.1:7443", mine)
	other, _ := key("127.0.0.1:7443", theirs)
	if first == nil || again == nil || *first != *again {
		t.Error("a node that is started again has another key")
	}
	if first == nil || other == nil || *first == *other {
		t.Error("two machines of one cluster have the same key")
	}
	for _, test := range []struct{ addr, dir string }{{"127.0.0.1:0", mine}, {"", mine}, {"127.0.0.1:7443", "off"}} {
		if got, _ := key(test.addr, test.dir); got != nil {
			t.Errorf("at %q with state in %q: a key that is kept, want one that is drawn", test.addr, test.dir)
		}
	}
	if err := os.Chmod(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, log := key("127.0.0.1:7443", mine); got != nil || !strings.Contains(log, "chmod") || !strings.Contains(log, "LINK_STATE_DIR") {
		t.Errorf("a folder that others can write to: %v, log %q", got, log)
	}
}

// TestADamagedResetSecretIsSaid checks that a damaged secret is an error and is not used.
func TestADamagedResetSecretIsSaid(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := resetSecret(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, resetSecretName)
	if err := os.Truncate(path, 7); err != nil {
		t.Fatal(err)
	}
	if _, err := resetSecret(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "7 bytes") {
		t.Errorf("a secret of 7 bytes: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", path); err != nil {
		t.Fatal(err)
	}
	if _, err := resetSecret(dir); err == nil || !strings.Contains(err.Error(), "link") {
		t.Errorf("a link in the place of the secret: %v", err)
	}
}
