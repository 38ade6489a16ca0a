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

// Config says where Consul is and what of it to use. The zero value works. Beside it every CONSUL_
// variable that Consul's own command line knows has its effect: those of TLS, authentication,
// namespace and partition.
type Config struct {
	// Address is the agent's HTTP address: "host:port", "https://host:port", "unix:///path". An
	// address without a scheme needs its port; with one, the port is the scheme's: 80 or 443. "" is
	// CONSUL_HTTP_ADDR or, without that variable, 127.0.0.1:8500.
	Address string

	// Token is the ACL token, as security.Hide makes it. The zero value is CONSUL_HTTP_TOKEN.
	Token security.Hidden

	// TokenFile holds the ACL token and is read again when it changes: at most once a second, and at
	// once when Consul refuses the one in use. It wins over Token. "" is CONSUL_HTTP_TOKEN_FILE,
	// unless Token is set.
	TokenFile string

	// Datacenters are followed beside the agent's own. At most MaxDatacenters.
	Datacenters []string

	// StateDir is where the last known instances and routing policies are kept for a start without
	// Consul, in files of mode 0600. It is made if it is missing, with mode 0700; one that is there must
	// have that mode, belong to the user of this process and not be a symbolic link, or nothing is kept,
	// with a log line. "" is link/consul in os.UserCacheDir, or none if there is no such directory. "off" is none.
	StateDir string

	// Logger gets one line when what Consul says about a service becomes unusable or usable, and about
	// registrations that were lost and made again. nil is slog.Default().
	Logger *slog.Logger

	dial func(ctx context.Context, network, addr string) (net.Conn, error) // for tests
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
	return fmt.Errorf("%w: %s %q: %s", ErrInvalidConfig, field, value, reason)
}

// datacenterName is what Consul accepts (agent/config/builder.go).
const datacenterName = `^[A-Za-z0-9_-]{1,64}$`

func (c Config) validate() error {
	if len(c.Datacenters) > MaxDatacenters {
		return fmt.Errorf("%w: Datacenters: %d names, want at most %d", ErrInvalidConfig, len(c.Datacenters), MaxDatacenters)
	}
	name := regexp.MustCompile(datacenterName)
	for i, dc := range c.Datacenters {
		if !name.MatchString(dc) {
			return invalid("Datacenters["+strconv.Itoa(i)+"]", dc, "want 1 to 64 letters, digits, _ and -")
		}
	}
	// The api package takes a word it does not know for "do not verify".
	for _, key := range []string{api.HTTPSSLEnvName, api.HTTPSSLVerifyEnvName} {
		if v := os.Getenv(key); v != "" {
			if _, err := strconv.ParseBool(v); err != nil {
				return invalid(key, v, "want true or false")
			}
		}
	}
	return nil
}

// sources returns the datacenters to follow: the agent's own, which is "", first.
func (c Config) sources() []string {
	all := []string{""}
	for _, dc := range c.Datacenters {
		if !slices.Contains(all, dc) {
			all = append(all, dc)
		}
	}
	return all
}

// stateDir returns the directory that c means, "" for none.
func (c Config) stateDir() string {
	switch c.StateDir {
	case stateOff:
		return ""
	case "":
		cache, err := os.UserCacheDir()
		if err != nil {
			return "" // a host without a home directory
		}
		return filepath.Join(cache, "link", "consul")
	default:
		return c.StateDir
	}
}
