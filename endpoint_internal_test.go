package link

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/linkmesh/link/security"
)

// still returns a node that opens no socket.
func still(t *testing.T, cfg Config) *Node {
	t.Helper()
	cfg.Registry, cfg.StateDir = listed(t), "off"
	return newNode(t, cfg)
}

// somewhere is a socket that reports a given local address.
type somewhere struct {
	net.PacketConn

	at string
}

func (s somewhere) LocalAddr() net.Addr { return named(s.at) }
func (somewhere) Close() error          { return nil }

type named string

func (named) Network() string  { return "udp" }
func (n named) String() string { return string(n) }

// TestWhoIsOnThisMachineOnly checks by what a node is bound to whether others can reach it.
func TestWhoIsOnThisMachineOnly(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	for _, test := range []struct {
		name string
		cfg  Config
		want bool
	}{
		{"bound to loopback", Config{Addr: "127.0.0.1:0"}, true},
		{"bound to loopback, IPv6", Config{Addr: "[::1]:0"}, true},
		{"bound to localhost", Config{Addr: "LOCALHOST:0"}, true},
		{"bound everywhere", Config{Addr: ":0"}, false},
		{"by default", Config{}, false},
		{"bound to another address", Config{Addr: "192.0.2.1:0"}, false},
		{"a socket on loopback", Config{Socket: somewhere{at: "127.0.0.1:9"}}, true},
		{"a socket elsewhere", Config{Addr: "127.0.0.1:0", Socket: somewhere{at: "192.0.2.1:9"}}, false},
		{"a socket of another kind", Config{Socket: somewhere{at: "carrier pigeon"}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := still(t, test.cfg)
			if got := n.onLoopback(); got != test.want {
				t.Errorf("on this machine only: %t, want %t", got, test.want)
			}
		})
	}
}

// TestANodeThatListensIsWhereItSays checks that the announced address counts, no matter what the node is bound to.
func TestANodeThatListensIsWhereItSays(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	for addr, want := range map[string]bool{"127.0.0.1:7443": true, "192.0.2.1:7443": false, "orders.example:7443": false} {
		n := still(t, Config{Addr: "127.0.0.1:0"})
		n.addr = addr
		if got := n.onLoopback(); got != want {
			t.Errorf("%s: on this machine only: %t, want %t", addr, got, want)
		}
	}
}

// TestAddressesThatMayBeDialed checks addresses, including IPv4 addresses and networks written as IPv6.
func TestAddressesThatMayBeDialed(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	prefixes := func(texts ...string) (out []netip.Prefix) {
		for _, text := range texts {
			out = append(out, netip.MustParsePrefix(text))
		}
		return out
	}
	for _, test := range []struct {
		nets []netip.Prefix
		addr string
		// want is part of the expected error; "" expects none.
		want string
	}{
		{nil, "192.0.2.1", ""},
		{nil, "0.0.0.0", "does not name a single machine"},
		{nil, "::", "does not name a single machine"},
		{nil, "224.0.0.1", "does not name a single machine"},
		{nil, "ff02::1", "does not name a single machine"},
		{nil, "255.255.255.255", "does not name a single machine"},
		{nil, "::ffff:255.255.255.255", "does not name a single machine"},
		{nil, "fd00:ec2::254%eth0", "metadata service"},
		{prefixes("192.0.2.0/24"), "192.0.2.9", ""},
		{prefixes("192.0.2.0/24"), "::ffff:192.0.2.9", ""},
		{prefixes("192.0.2.0/24"), "192.0.3.9", "outside Config.Routing.AllowNets"},
		{prefixes("::ffff:192.0.2.0/120"), "192.0.2.9", ""},
		{prefixes("::ffff:192.0.2.0/120"), "192.0.3.9", "outside Config.Routing.AllowNets"},
		// A host's address with the prefix length of its network.
		{prefixes("192.0.2.9/24"), "192.0.2.200", ""},
		// Both networks are IPv6 alone.
		{prefixes("::/0"), "192.0.2.1", "outside Config.Routing.AllowNets"},
		{prefixes("::ffff:0:0/64"), "192.0.2.1", "outside Config.Routing.AllowNets"},
		{prefixes("::/0", "0.0.0.0/0"), "192.0.2.1", ""},
		{prefixes("fe80::/10"), "fe80::1%eth0", ""},
		{prefixes("0.0.0.0/0"), "169.254.169.254", "metadata service"},
	} {
		n := still(t, Config{Routing: Routing{AllowNets: test.nets}})
		err := n.router.MayDial(netip.MustParseAddr(test.addr))
		if test.want == "" && err != nil || !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%s with %v: %v, want %q", test.addr, test.nets, err, test.want)
		}
	}
	if err := still(t, Config{}).router.MayDial(netip.Addr{}); err == nil {
		t.Error("no address at all may be dialed")
	}
}

// TestTheAddressThatANodeAnnounces checks that a node announces an address that others reach, IPv4 or IPv6.
func TestTheAddressThatANodeAnnounces(t *testing.T) {
	ip := func(s string) net.Addr { return &net.IPNet{IP: net.ParseIP(s), Mask: net.CIDRMask(64, 128)} }
	for _, tt := range []struct {
		addrs []net.Addr
		want  string
	}{
		{[]net.Addr{ip("127.0.0.1"), ip("fd00::5"), ip("10.0.0.5")}, "10.0.0.5"},
		{[]net.Addr{ip("::1"), ip("fe80::1"), ip("fd00::5"), ip("2001:db8::1")}, "fd00::5"},
		{[]net.Addr{ip("127.0.0.1"), ip("fe80::1"), named("eth0")}, "127.0.0.1"},
		{nil, "127.0.0.1"},
	} {
		if got := reachable(tt.addrs); got != tt.want {
			t.Errorf("of %v it announces %s, want %s", tt.addrs, got, tt.want)
		}
	}
}

// TestAnIdentityThatWasGivenStaysOpen checks that a New that fails leaves Config.Identity open, since others may use it.
func TestAnIdentityThatWasGivenStaysOpen(t *testing.T) {
	source, err := security.NewClusterSource(security.NewSecret(), "orders", "default")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	lookup := func(name string) (string, bool) { return "no address", name == envPeers }
	if _, err := New(Config{Service: "orders", Identity: source, LookupEnv: lookup}); err == nil || !strings.Contains(err.Error(), envPeers) {
		t.Fatalf("got %v, want the error of %s", err, envPeers)
	}
	if _, err := source.SVID(); err != nil {
		t.Errorf("the identity was closed: %v", err)
	}
}
