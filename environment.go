package link

import (
	"cmp"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/place"
	"github.com/linkmesh/link/internal/spell"
	"github.com/linkmesh/link/tracing"
)

// The environment variables that stand in for empty fields of Config, so that a program
// need not be rebuilt for each place it runs in.
const (
	envAddr      = "LINK_ADDR"
	envAdvertise = "LINK_ADVERTISE"
	envTags      = "LINK_TAGS"
	envZone      = "LINK_ZONE"
	envNamespace = "LINK_NAMESPACE"
	envTopology  = "LINK_TOPOLOGY"
	envPeers     = "LINK_PEERS"
	envStateDir  = "LINK_STATE_DIR"
	envConsul    = "CONSUL_HTTP_ADDR"
)

// resolve returns cfg with defaults in place of zero values, except for what
// needs I/O or the environment.
func resolve(cfg Config) (Config, error) {
	var environ []string
	if cfg.LookupEnv == nil {
		cfg.LookupEnv, environ = os.LookupEnv, os.Environ()
	}
	if cfg.Namespace == "" && cfg.Identity != nil {
		cfg.Namespace = cfg.Identity.ID().Namespace()
	}
	if err := cfg.fromEnvironment(); err != nil {
		return cfg, err
	}
	if cfg.Namespace == "" {
		cfg.Namespace = discovery.DefaultNamespace
	}
	if err := cfg.validateInstance(); err != nil {
		return cfg, err
	}
	if err := cfg.Limits.validate(); err != nil {
		return cfg, err
	}
	if err := cfg.validateAdvertise(); err != nil {
		return cfg, err
	}
	cfg.Tags = slices.Clone(cfg.Tags)
	cfg.Meta, cfg.Monitors = maps.Clone(cfg.Meta), maps.Clone(cfg.Monitors)
	cfg.Routing.AllowNets, cfg.Routing.AllowRedirect = unmapped(cfg.Routing.AllowNets), slices.Clone(cfg.Routing.AllowRedirect)
	if err := cfg.resolveCodec(); err != nil {
		return cfg, err
	}
	if cfg.Tracer == nil {
		cfg.Tracer = tracing.New(tracing.Config{})
	}
	cfg.Limits.CallTimeout = cmp.Or(cfg.Limits.CallTimeout, defaultCallTimeout)
	cfg.Limits.DrainTimeout = cmp.Or(cfg.Limits.DrainTimeout, defaultDrainTimeout)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.warnOfMisspelled(environ)
	return cfg, nil
}

// env returns the value of a variable, or "" if it is not set.
func (cfg *Config) env(name string) string {
	if value, ok := cfg.LookupEnv(name); ok {
		return value
	}
	return ""
}

// fromEnvironment fills empty fields of cfg from the environment. Fields that the program
// has set take precedence. The addresses are for nodes that serve only: clients in the same
// process would compete with them for the port.
func (cfg *Config) fromEnvironment() error {
	if cfg.Namespace == "" && cfg.Identity == nil {
		cfg.Namespace = cfg.env(envNamespace)
		if err := (discovery.Query{Service: clientService, Namespace: cfg.Namespace}).Validate(); err != nil {
			return Errorf(InvalidArgument, envNamespace+": %w", err)
		}
	}
	if cfg.Addr == "" && cfg.Service != "" && cfg.Socket == nil {
		cfg.Addr = cfg.env(envAddr)
		if _, _, err := net.SplitHostPort(cfg.Addr); cfg.Addr != "" && err != nil {
			return Errorf(InvalidArgument, envAddr+" is %q, want host:port, or :port for all addresses: %w", cfg.Addr, err)
		}
	}
	if cfg.Advertise == "" && cfg.Service != "" && cfg.Socket == nil {
		cfg.Advertise = cfg.env(envAdvertise)
		if _, port, err := net.SplitHostPort(cfg.Advertise); cfg.Advertise != "" && (err != nil || port == "") {
			return Errorf(InvalidArgument, envAdvertise+" is %q, want host:port", cfg.Advertise)
		}
	}
	if cfg.Routing.TopologyFile == "" {
		cfg.Routing.TopologyFile = cfg.env(envTopology)
	}
	if cfg.StateDir == "" {
		cfg.StateDir = cfg.env(envStateDir)
	}
	return cfg.tagsFromEnvironment()
}

// warnOfMisspelled logs the variables of the process that are probably meant for link but that link does not know. A
// misspelled variable would be ignored in silence: without its secret a node is in the development tier. Other programs
// may use variables that begin with LINK_, too, so only those that resemble one of link's own are logged.
func (cfg *Config) warnOfMisspelled(environ []string) {
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		rest, ok := strings.CutPrefix(strings.ToUpper(name), envPrefix)
		if !ok {
			continue
		}
		meant := ""
		switch like := spell.Nearest(rest, slices.Values(variables())); {
		case slices.Contains(variables(), rest):
			// Names of variables are case-sensitive.
			if _, read := cfg.LookupEnv(envPrefix + rest); !read {
				meant = envPrefix + rest
			}
		case len(like) > 0 && like[0][0] == rest[0]:
			// The first letter must match: HOME is not a typo of ZONE.
			meant = envPrefix + like[0]
		case strings.Contains(rest, "SECRET"):
			meant = "LINK_CLUSTER_SECRET"
		}
		if meant != "" {
			cfg.Logger.Warn("link: an unknown environment variable is set; it may be a misspelling",
				"variable", foreign.Text(name), "meant", meant)
		}
	}
}

// envPrefix is the prefix of link's own variables.
const envPrefix = "LINK_"

// variables returns the names of link's own variables, without envPrefix.
func variables() []string {
	names := []string{
		envAddr, envAdvertise, envTags, envZone, envNamespace, envTopology, envPeers, envStateDir,
		// Package security reads these.
		"LINK_CLUSTER_SECRET", "LINK_ENV",
	}
	for i, name := range names {
		names[i] = strings.TrimPrefix(name, envPrefix)
	}
	return names
}

// tagsFromEnvironment adds tags to Config.Tags. It leaves out a tag "key=value" if
// Config.Tags or Config.Meta has that key already.
func (cfg *Config) tagsFromEnvironment() error {
	own := slices.Clip(cfg.Tags)
	add := func(variable, tag string) error {
		if err := (discovery.TagQuery{Tag: tag}).Validate(); err != nil {
			return Errorf(InvalidArgument, variable+": %w", err)
		}
		key, _, pair := strings.Cut(tag, "=")
		_, taken := cfg.Meta[key]
		taken = pair && (taken || slices.ContainsFunc(own, func(have string) bool { return strings.HasPrefix(have, key+"=") }))
		if !taken && !slices.Contains(cfg.Tags, tag) {
			cfg.Tags = append(slices.Clip(cfg.Tags), tag)
		}
		return nil
	}
	if zone := cfg.env(envZone); zone != "" {
		if err := add(envZone, place.Zone+"="+zone); err != nil {
			return err
		}
	}
	if text := cfg.env(envTags); text != "" {
		for tag := range strings.SplitSeq(text, ",") {
			if err := add(envTags, strings.TrimSpace(tag)); err != nil {
				return err
			}
		}
	}
	if len(cfg.Tags) > len(own) {
		if err := (discovery.Instance{Tags: cfg.Tags}).ValidatePlace(); err != nil {
			return Errorf(InvalidArgument, "Config.Tags, with the tags that "+envZone+" and "+envTags+" add: %w", err)
		}
	}
	return nil
}

// maxListed bounds the number of addresses in a log line.
const maxListed = 16

// listens returns the addresses at which a socket bound to local receives packets. For an
// unspecified address these are the addresses of the machine, at most maxListed of them.
func listens(local net.Addr) []string {
	host, port, err := net.SplitHostPort(local.String())
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return []string{local.String()}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return []string{local.String()}
	}
	var all []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if all = append(all, net.JoinHostPort(n.IP.String(), port)); len(all) == maxListed {
				break
			}
		}
	}
	return all
}
