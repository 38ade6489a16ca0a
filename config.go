package link

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/place"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/security"
	"github.com/linkmesh/link/topology"
	"github.com/linkmesh/link/tracing"
)

// Config is the configuration of a [Node]. The zero value works: a client in the
// development tier that finds services on this machine.
type Config struct {
	// Service is the name the node serves under, and its identity. Empty means a
	// pure client, whose identity is the service "client".
	Service string
	// Namespace separates meshes that share a registry. Empty means the namespace
	// of Identity, if it is set, else LINK_NAMESPACE, else "default".
	Namespace string
	// Tags describe this instance: "v2", "zone=eu-1a". At most 64 of 128 bytes each.
	// LINK_TAGS ("v2,canary") and LINK_ZONE ("eu-1a", for "zone=eu-1a") add to them,
	// but not a tag key=value whose key Tags or Meta has already. At most one zone=,
	// one region= and one dc=, each with a name, say where the instance is.
	Tags []string
	// Meta holds further facts about this instance, for the subsets of a topology.
	// At most 56 pairs; see discovery.Instance. Unlike tags, peers do not confirm it.
	Meta map[string]string
	// Weight is the share of work relative to the other instances, 1 to 65535.
	// Zero means 100.
	Weight int
	// Monitors maps a tag to a probe, which returns nil if what the tag stands for is
	// available, else an error. The tag is announced while the probe succeeds, beside Tags;
	// the instance stays announced either way. A probe runs every second while the node
	// runs, and must return when its context ends, which is after a second. A panic counts
	// as an error, and each further second for which a probe runs on counts as another. The
	// first run decides at once whether the node has the tag. After that two runs in a row
	// must disagree with the tag before it appears or goes, so that one hiccup moves no
	// traffic.
	Monitors map[string]func(ctx context.Context) error
	// Addr is the UDP address to listen on and to dial from. Empty means LINK_ADDR,
	// if it is set and the node has a Service, else "127.0.0.1:0" in the development
	// tier and ":0" in the others.
	Addr string
	// Advertise is the "host:port" that others dial. Empty means LINK_ADVERTISE, if
	// it is set and the node has a Service and no Socket, else the address the node
	// listens on or, if that is unspecified, the first global address of this machine.
	Advertise string
	// Socket is the socket to use in place of Addr; the node owns and closes it. Failed reads and writes are retried
	// and end no connection. A socket that others close, or that returns nothing but errors for 10 s, ends the node;
	// see [Node.Run].
	Socket net.PacketConn
	// StateDir is a folder, private to this user, where a node with a fixed port or a Socket
	// keeps state between runs: the secret that lets a restarted process end the connections
	// of its predecessor at the same address, so that callers go on at once. Empty means
	// LINK_STATE_DIR, if it is set, else link/state in os.UserCacheDir. "off" keeps nothing.
	// Nodes on one host share it.
	StateDir string
	// Registry finds instances and announces this one. Nil means LINK_PEERS, if it
	// is set, else Consul, if CONSUL_HTTP_ADDR is set, else the local registry of
	// this machine. The node closes a registry that it made itself.
	Registry discovery.Registry
	// Routing says where calls may go.
	Routing Routing
	// Identity proves who this node is. Nil means LINK_CLUSTER_SECRET, if it is
	// set, else the development tier; see security.FromEnvironment. The node
	// closes a source that it made itself. Its ID must match Service and
	// Namespace.
	Identity security.Source
	// Codec encodes messages. Nil means CBOR within Limits.
	Codec codec.Codec
	// Tracer makes spans. Nil means the global OpenTelemetry provider.
	Tracer *tracing.Tracer
	// ClientMiddleware and ServerMiddleware wrap every operation, the first of each outermost.
	ClientMiddleware, ServerMiddleware []Middleware
	// Limits bounds what the node accepts, holds and waits for.
	Limits Limits
	// LookupEnv looks up the variables that stand in for empty fields: LINK_…,
	// CONSUL_HTTP_ADDR and KUBERNETES_SERVICE_HOST. Nil means os.LookupEnv. A function
	// that returns "", false makes the node independent of these variables. Other settings
	// of a Consul agent, such as a token, are always read from the process environment.
	LookupEnv func(name string) (value string, ok bool)
	// Logger receives what cannot be returned to a caller. Nil means slog.Default().
	Logger *slog.Logger
}

// Routing says where calls may go. The zero value allows all networks, and takes the policy
// from the file that LINK_TOPOLOGY names, if it is set, and from the registry.
type Routing struct {
	// Topology is the routing policy, in code. It overrides what TopologyFile and
	// the registry (Consul's KV) say about the same services. Nil means none. It
	// must not be modified afterwards.
	Topology *topology.Document
	// TopologyFile is a YAML file with the routing policy, which is read again when
	// it changes. The registry overrides it. Empty means LINK_TOPOLOGY, if it is
	// set, else none.
	TopologyFile string
	// AllowNets are the networks in which instances may be. Empty means all.
	// Multicast, unspecified and broadcast addresses and those of cloud metadata
	// services are never allowed. A registry that other machines write to may name
	// loopback addresses only if this node is bound to loopback, too.
	AllowNets []netip.Prefix
	// AllowRedirect names the services to which a topology from the registry may
	// redirect calls to other services.
	AllowRedirect []string
	// AllowFaults lets a topology inject faults into calls. Leave it off in
	// production.
	AllowFaults bool
}

const clientService = "client"

// resolveCodec makes the codec with the bounds in Limits, unless Codec is set.
func (cfg *Config) resolveCodec() error {
	limits := cfg.Limits.codec()
	if cfg.Codec != nil {
		if limits != (codec.Limits{}) {
			return Errorf(InvalidArgument, "Config.Limits.MaxNesting and MaxExpansion do not apply to Config.Codec; set them on that codec, for example with codec.NewCBOR")
		}
		return nil
	}
	c, err := codec.NewCBOR(limits)
	if err != nil {
		return Errorf(InvalidArgument, "Config.Limits: %w", err)
	}
	cfg.Codec = c
	return nil
}

// validateAdvertise checks that Advertise is an address that others can dial.
func (cfg *Config) validateAdvertise() error {
	if cfg.Advertise == "" {
		return nil
	}
	shown := discovery.Instance{ID: "x", Service: cfg.identityName(), Namespace: cfg.Namespace, Addr: cfg.Advertise}
	if err := shown.Validate(); err != nil {
		return Errorf(InvalidArgument, "Config.Advertise (or LINK_ADVERTISE) is not an address that others can dial: %w", err)
	}
	return nil
}

// validateInstance checks what the node announces, with every tag that its
// monitors may add.
func (cfg *Config) validateInstance() error {
	tags := slices.Clone(cfg.Tags)
	for tag, probe := range cfg.Monitors {
		if probe == nil {
			return Errorf(InvalidArgument, "Config.Monitors[%q] is nil, want a probe", tag)
		}
		if slices.Contains(cfg.Tags, tag) {
			return Errorf(InvalidArgument, "the tag %q is in Config.Monitors and in Config.Tags, where it would always be announced; remove one of them", tag)
		}
		if place.Is(tag) {
			return Errorf(InvalidArgument, "Config.Monitors has the tag %q, which says where the node is, and that does not change; put it in Config.Tags", tag)
		}
		tags = append(tags, tag)
	}
	shown := discovery.Instance{
		ID: "x", Service: cfg.identityName(), Namespace: cfg.Namespace, Addr: "127.0.0.1:1",
		Tags: tags, Meta: cfg.Meta, Weight: cfg.Weight,
	}
	if err := shown.Validate(); err != nil {
		return Errorf(InvalidArgument, "Config: %w", err)
	}
	if err := shown.ValidatePlace(); err != nil {
		return Errorf(InvalidArgument, "Config: %w", err)
	}
	for i, p := range cfg.Routing.AllowNets {
		if !p.IsValid() {
			return Errorf(InvalidArgument, "Config.Routing.AllowNets[%d] is not a network; use netip.ParsePrefix", i)
		}
	}
	return nil
}

// matchIdentity checks that Identity proves the node's service and namespace.
func (cfg *Config) matchIdentity() error {
	if cfg.Identity == nil {
		return nil
	}
	id := cfg.Identity.ID()
	if cfg.Service != "" && cfg.Service != id.Service() {
		return Errorf(InvalidArgument, "Config.Service is %q, but Config.Identity proves %s", cfg.Service, id)
	}
	if cfg.Namespace != id.Namespace() {
		return Errorf(InvalidArgument, "Config.Namespace is %q, but Config.Identity proves %s", cfg.Namespace, id)
	}
	return nil
}

// identityName returns the service name in the node's identity.
func (cfg *Config) identityName() string {
	if cfg.Service == "" {
		return clientService
	}
	return cfg.Service
}

// bindAddr returns the address to listen on.
func (cfg *Config) bindAddr(tier security.Tier) (string, error) {
	if tier != security.TierDev {
		if cfg.Addr == "" {
			return ":0", nil
		}
		return cfg.Addr, nil
	}
	if cfg.Addr == "" {
		return "127.0.0.1:0", nil
	}
	host, _, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return "", Errorf(InvalidArgument, "Config.Addr is %q, want host:port: %w", cfg.Addr, err)
	}
	if !router.Loopback(host) {
		return "", Errorf(FailedPrecondition, "Config.Addr (or LINK_ADDR) is %q, but the development tier stays on loopback; set LINK_CLUSTER_SECRET or Config.Identity to leave this machine", cfg.Addr)
	}
	return cfg.Addr, nil
}

// advertised returns the address that others dial, for a socket bound to local.
func (cfg *Config) advertised(local net.Addr) (string, error) {
	if cfg.Advertise != "" {
		return cfg.Advertise, nil
	}
	host, port, err := net.SplitHostPort(local.String())
	if err != nil {
		return "", Errorf(Internal, "the socket's address %q is not a host:port: %w", local, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return local.String(), nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", Errorf(Unavailable, "finding an address to announce: %w; set Config.Advertise or LINK_ADVERTISE", err)
	}
	return net.JoinHostPort(reachable(addrs), port), nil
}

// reachable returns the first global address of this machine, preferring IPv4, or the IPv4
// loopback address if it has none.
func reachable(addrs []net.Addr) string {
	best := ""
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return n.IP.String()
		case best == "":
			best = n.IP.String()
		}
	}
	return cmp.Or(best, "127.0.0.1")
}

// unmapped returns networks with IPv4-mapped IPv6 networks as IPv4, the form in which addresses are compared.
func unmapped(nets []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(nets))
	for _, p := range nets {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out
}
