package consul

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"
)

// endpoint is a parsed agent address.
type endpoint struct {
	// address is passed to the api package: host:port with an optional path, or a socket's path.
	address string

	// scheme is "" if CONSUL_HTTP_SSL decides.
	scheme string
	socket bool

	// origin names the source of the address, "" for the default.
	origin string

	// portless means that the address has no port, so the scheme's default port applies.
	portless bool
}

func (c Config) endpoint() (endpoint, error) {
	field, text := "Address", c.Address
	if text == "" {
		field, text = api.HTTPAddrEnvName, os.Getenv(api.HTTPAddrEnvName)
	}
	if text == "" {
		return endpoint{address: defaultAddress}, nil
	}
	end := endpoint{origin: api.HTTPAddrEnvName}
	if c.Address != "" {
		end.origin = "Config.Address"
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = "", text
	}
	end.address = rest
	switch {
	case strings.Contains(rest, "@"):
		return endpoint{}, fmt.Errorf("%w: %s holds a user name; put user:password in CONSUL_HTTP_AUTH", errConfig, field)
	case scheme == "unix" && strings.HasPrefix(rest, "/"):
		end.scheme, end.socket = "http", true
		return end, nil
	case scheme != "" && scheme != "http" && scheme != "https", rest == "", strings.HasPrefix(rest, "/"),
		strings.ContainsAny(rest, " ?#"):
		return endpoint{}, invalid(field, text, "want host:port, http://host:port, https://host:port or unix:///path")
	}
	hostport, _, _ := strings.Cut(rest, "/")
	switch port, given := portOf(hostport); {
	case !given && scheme == "":
		return endpoint{}, invalid(field, text, "it has no port; Consul's is "+defaultPort+", so perhaps "+
			net.JoinHostPort(strings.Trim(strings.TrimSuffix(hostport, ":"), "[]"), defaultPort))
	case !given:
		end.portless = true
	default:
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return endpoint{}, invalid(field, text, "want a port from 1 to 65535")
		}
	}
	// Leave http to CONSUL_HTTP_SSL, as Consul does: it must not disable TLS that was asked for.
	if scheme == "https" {
		end.scheme = scheme
	}
	return end, nil
}

// portOf returns the port of host:port. given is false if there is no port or an empty one.
func portOf(hostport string) (port string, given bool) {
	_, port, err := net.SplitHostPort(hostport)
	return port, err == nil && port != ""
}

// advice returns what to do when no Consul answers at the address.
func (e endpoint) advice() string {
	text := "is the agent running? " + api.HTTPAddrEnvName + " says where it is, and is not set"
	if e.origin != "" {
		text = "is the agent running there, and is " + e.origin + " right?"
	}
	if e.portless {
		text += " It names no port, so it is 80 for http and 443 for https; Consul's own is " + defaultPort + "."
	}
	if e.origin == api.HTTPAddrEnvName {
		text += " Unset it to use this machine's registry"
	}
	return strings.TrimSuffix(text, ".")
}
