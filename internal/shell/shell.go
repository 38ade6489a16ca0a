// Package shell isolates tests from environment variables that the shell has set for other programs.
package shell

import (
	"os"
	"slices"
	"strings"
)

// Variables returns the names of the environment variables that configure a node.
func Variables() []string {
	return []string{
		"LINK_ADDR", "LINK_ADVERTISE", "LINK_CLUSTER_SECRET", "LINK_ENV", "LINK_NAMESPACE", "LINK_PEERS", "LINK_STATE_DIR",
		"LINK_TAGS", "LINK_TOPOLOGY", "LINK_ZONE", "CONSUL_HTTP_ADDR", "KUBERNETES_SERVICE_HOST",
	}
}

// consulPrefix is the prefix of the variables of Consul's own client.
const consulPrefix = "CONSUL_"

// Forget unsets Variables, and those of Consul's client, in this process. It is for TestMain, but not for
// processes that a test starts with variables of its own.
func Forget() {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); decides(name) {
			// Unsetenv fails only for an invalid name, and the name of a set variable is valid.
			_ = os.Unsetenv(name)
		}
	}
}

// Without returns a copy of environ without the variables that Forget unsets.
func Without(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return decides(name)
	})
}

func decides(name string) bool {
	return strings.HasPrefix(name, consulPrefix) || slices.Contains(Variables(), name)
}
