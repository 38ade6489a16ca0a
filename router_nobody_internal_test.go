package link

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/local"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/security"
)

// TestNobodySaysWhatWouldReachFurther checks that the error says what to check or to set, which depends on the registry
// and the identity of the node.
func TestNobodySaysWhatWouldReachFurther(t *testing.T) {
	for name, test := range map[string]struct {
		secret, here bool
		source       security.Source
		says, not    []string
	}{
		"a new user":                  {here: true, says: []string{"the same namespace?", "reaches no further: set LINK_CLUSTER_SECRET, and LINK_PEERS or CONSUL_HTTP_ADDR"}},
		"development with a registry": {says: []string{"the same registry and namespace?", "reaches no further: set LINK_CLUSTER_SECRET for"}, not: []string{"LINK_PEERS", "CONSUL"}},
		"a secret and no registry": {
			secret: true, here: true, says: []string{"namespace and LINK_CLUSTER_SECRET?", "set LINK_PEERS or CONSUL_HTTP_ADDR"}, not: []string{"tier reaches"},
		},
		"a secret and a registry":      {secret: true, says: []string{"the same registry, namespace and LINK_CLUSTER_SECRET as"}, not: []string{"this machine", "set LINK"}},
		"certificates and a registry":  {source: securitytest.NewCA(t, "mesh.test").Source("client"), says: []string{"namespace and trust domain as"}, not: []string{"this machine", "LINK_"}},
		"certificates and no registry": {here: true, source: securitytest.NewCA(t, "mesh.test").Source("client"), says: []string{"namespace and trust domain?", "set LINK_PEERS or"}, not: []string{"SECRET"}},
	} {
		t.Run(name, func(t *testing.T) {
			// Setenv restores the variable at the end, even if it is unset below.
			t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
			if !test.secret {
				if err := os.Unsetenv("LINK_CLUSTER_SECRET"); err != nil {
					t.Fatal(err)
				}
			}
			// The development CA is kept in one of these folders.
			t.Setenv("HOME", t.TempDir())
			t.Setenv("XDG_CACHE_HOME", "")
			t.Setenv("XDG_CONFIG_HOME", "")
			t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
			var registry discovery.Registry = listed(t)
			if test.here {
				own, err := local.New(local.Config{Dir: filepath.Join(t.TempDir(), "nodes")})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := own.Close(); err != nil {
						t.Error(err)
					}
				})
				registry = own
			}
			n := newNode(t, Config{Registry: registry, Identity: test.source, Addr: "127.0.0.1:0", StateDir: "off"})
			err := HostOf(n).Call(t.Context(), Route{Service: "orders", Name: "get"}, "", new(string))
			if CodeOf(err) != Unavailable {
				t.Fatalf("%v, want Unavailable", err)
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%v\ndoes not say %q", err, text)
				}
			}
			for _, text := range test.not {
				if strings.Contains(err.Error(), text) {
					t.Errorf("%v\nsays %q", err, text)
				}
			}
		})
	}
}
