package agent

import (
	"os"
	"path/filepath"
	"testing"
)

const (
	// Version is the version of Consul that the tests run. It must match consul-agent/go.mod.
	Version = "v1.22.5"

	// BinaryVariable is the environment variable that names another Consul binary to use.
	BinaryVariable = "LINK_CONSUL_BINARY"
)

// binary returns the path of the Consul binary. It fails the test if there is none, since a skipped
// test would prove nothing.
func binary(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv(BinaryVariable); path != "" {
		if !executable(path) {
			tb.Fatalf("%s is %q, which is not an executable file", BinaryVariable, path)
		}
		return path
	}
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		path := filepath.Join(dir, ".tmp", "bin", "consul-"+Version)
		if executable(path) {
			return path
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatalf("the Consul agent is not built. Run this in the root of the repository, it takes a few minutes the first time:\n\n\tmake integration\n\nor set %s to a Consul %s binary", BinaryVariable, Version)
		}
		dir = parent
	}
}

func executable(path string) bool {
	info, err := os.Stat(path) //nolint:gosec // whoever runs the tests names it
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
