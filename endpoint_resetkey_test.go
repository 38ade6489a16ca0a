package link

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/security"
)

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
