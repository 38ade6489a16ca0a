package consul

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/security"
)

const (
	defaultAddress = "127.0.0.1:8500"
	defaultPort    = "8500"
	stateOff       = "off"
)

// Config tells where Consul is and how to use it. The zero value works. All CONSUL_ environment
// variables that Consul's command line knows also apply: those for TLS, authentication, namespace
// and partition.
type Config struct {
	// Address is the agent's HTTP address: "host:port", "https://host:port", "unix:///path". An
	// address without a scheme needs a port. With a scheme, the port defaults to 80 or 443. "" is
	// CONSUL_HTTP_ADDR or, without that variable, 127.0.0.1:8500.
	Address string

	// Token is the ACL token, made with security.Hide. The zero value is CONSUL_HTTP_TOKEN.
	Token security.Hidden

	// TokenFile holds the ACL token. It is read again at most once a second, and at once when Consul
	// rejects the current token. It takes precedence over Token. "" is CONSUL_HTTP_TOKEN_FILE, unless
	// Token is set.
	TokenFile string

	// Datacenters are followed in addition to the agent's own. At most 16.
	Datacenters []string

	// StateDir is where the last known instances and routing policies are kept for a start without
	// Consul, in files of mode 0600. It is created with mode 0700 if it is missing. An existing
	// directory must have that mode, belong to the user of this process and not be a symbolic link;
	// otherwise nothing is kept, and a line is logged. "" is link/consul in os.UserCacheDir, or none if
	// there is no such directory. "off" is none.
	StateDir string

	// Logger gets one line when the answers about a service become unusable or usable again, and when
	// a lost registration was made again. nil is slog.Default().
	Logger *slog.Logger

	// dial replaces the dialer in tests.
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// String returns the config without its token.
func (c Config) String() string {
	return fmt.Sprintf("consul.Config{Address: %q, Token: %q, TokenFile: %q, Datacenters: %q, StateDir: %q}",
		c.Address, c.Token, c.TokenFile, c.Datacenters, c.StateDir)
}

// GoString returns the same as String.
func (c Config) GoString() string { return c.String() }

// LogValue implements slog.LogValuer: it returns the config without its token.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

func invalid(field, value, reason string) error {
	return fmt.Errorf("%w: %s %q: %s", errConfig, field, value, reason)
}

// datacenterName matches the names that Consul accepts (agent/config/builder.go).
const datacenterName = `^[A-Za-z0-9_-]{1,64}$`

func (c Config) validate() error {
	if len(c.Datacenters) > maxDatacenters {
		return fmt.Errorf("%w: Datacenters: %d names, want at most %d", errConfig, len(c.Datacenters), maxDatacenters)
	}
	name := regexp.MustCompile(datacenterName)
	for i, dc := range c.Datacenters {
		if !name.MatchString(dc) {
			return invalid("Datacenters["+strconv.Itoa(i)+"]", dc, "want 1 to 64 letters, digits, _ and -")
		}
	}
	// The api package would treat an unknown value as "do not verify".
	for _, key := range []string{api.HTTPSSLEnvName, api.HTTPSSLVerifyEnvName} {
		if v := os.Getenv(key); v != "" {
			if _, err := strconv.ParseBool(v); err != nil {
				return invalid(key, v, "want true or false")
			}
		}
	}
	return nil
}

// sources returns the datacenters to follow. The first is "", the agent's own.
func (c Config) sources() []string {
	all := []string{""}
	for _, dc := range c.Datacenters {
		if !slices.Contains(all, dc) {
			all = append(all, dc)
		}
	}
	return all
}

// stateDir returns the state directory, or "" for none.
func (c Config) stateDir() string {
	switch c.StateDir {
	case stateOff:
		return ""
	case "":
		cache, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		return filepath.Join(cache, "link", "consul")
	default:
		return c.StateDir
	}
}
