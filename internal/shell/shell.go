// Package shell keeps tests apart from what the shell that runs them has set for other programs.
package shell

import (
	"os"
	"slices"
	"strings"
)

// Variables returns the names of the environment variables that decide what a node is.
func Variables() []string {
	return []string{
		"LINK_ADDR", "LINK_ADVERTISE", "LINK_CLUSTER_SECRET", "LINK_ENV", "LINK_NAMESPACE", "LINK_PEERS", "LINK_STATE_DIR",
		"LINK_TAGS", "LINK_TOPOLOGY", "LINK_ZONE", "CONSUL_HTTP_ADDR", "KUBERNETES_SERVICE_HOST",
	}
}

// consulPrefix begins the variables of Consul's own client.
const consulPrefix = "CONSUL_"

// Forget unsets Variables, and those of Consul's client, for the rest of the process. It is for TestMain, but
// not in the processes that a test starts with variables of its own.
func Forget() {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); decides(name) {
			_ = os.Unsetenv(name) // it was set, so it has a name that can be
		}
	}
}

// Without returns an environment without what Forget would unset.
func Without(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return decides(name)
	})
}

func decides(name string) bool {
	return strings.HasPrefix(name, consulPrefix) || slices.Contains(Variables(), name)
}
