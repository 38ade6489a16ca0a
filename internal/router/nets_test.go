package router

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/security"
)

// TestLoopbackAddressesOfASharedRegistry checks that a node may dial loopback addresses of a shared registry only if it
// is itself bound to loopback.
func TestLoopbackAddressesOfASharedRegistry(t *testing.T) {
	here := discovery.Instance{ID: "orders-1", Service: "orders", Addr: "127.0.0.1:7443"}
	for _, bound := range []bool{true, false} {
		r := newRouter(t, Config{OnLoopback: func() bool { return bound }, Node: Self{Tier: security.TierClusterSecret}})
		why, fix := r.refused(here, discovery.FromNetwork)
		if refused := why != ""; refused == bound || refused && !strings.Contains(fix, "Config.Advertise") {
			t.Errorf("bound to loopback %t: an instance on loopback in a shared registry: %q, %q", bound, why, fix)
		}
		if why, _ := r.refused(here, discovery.FromHost); why != "" {
			t.Errorf("bound to loopback %t: an instance on loopback in the registry of this machine: %q", bound, why)
		}
	}
}

// TestWhatMayNotBeDialedInTheDevelopmentTier checks that the development tier stays on its machine.
func TestWhatMayNotBeDialedInTheDevelopmentTier(t *testing.T) {
	r := newRouter(t, Config{OnLoopback: func() bool { return true }, Node: Self{Tier: security.TierDev}})
	for addr, want := range map[string]string{
		"127.0.0.1:7443": "", "[::1]:7443": "", "localhost:7443": "",
		"192.0.2.1:7443": "the development tier stays on this machine", "orders.example:7443": "the development tier stays on this machine",
		"192.0.2.1": "its address is not a host:port",
	} {
		if why, _ := r.refused(discovery.Instance{Addr: addr}, discovery.FromNetwork); why != want {
			t.Errorf("%s: %q, want %q", addr, why, want)
		}
	}
}

// TestNamesOfThisMachineAreJudgedWhenTheyAreResolved checks resolved addresses: a host name may hide a loopback address.
func TestNamesOfThisMachineAreJudgedWhenTheyAreResolved(t *testing.T) {
	for _, tt := range []struct {
		bound  bool
		origin discovery.Origin
		addr   string
		want   bool
	}{
		{false, discovery.FromNetwork, "127.0.0.1", false},
		{false, discovery.FromNetwork, "::1", false},
		{false, discovery.FromNetwork, "192.0.2.1", true},
		{false, discovery.FromHost, "127.0.0.1", true},
		{false, discovery.FromConfig, "127.0.0.1", true},
		{true, discovery.FromNetwork, "127.0.0.1", true},
	} {
		s := &Service{router: newRouter(t, Config{OnLoopback: func() bool { return tt.bound }})}
		s.snapshot.Origin = tt.origin
		if err := s.mayDial(netip.MustParseAddr(tt.addr)); (err == nil) != tt.want {
			t.Errorf("bound to loopback %t, registry %v, %s: %v", tt.bound, tt.origin, tt.addr, err)
		}
	}
}
