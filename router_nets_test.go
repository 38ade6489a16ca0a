package link_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

type prefix = netip.Prefix

func TestInstancesOutsideOfTheAllowedNetworksAreNotDialed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := orders(mesh, link.Config{}, keep)
		for name, c := range map[string]struct {
			nets []netip.Prefix
			ok   bool
		}{
			"everywhere":      {nil, true},
			"in the network":  {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8")}, true},
			"not the network": {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, false},
		} {
			log := &logBuffer{}
			client := mesh.Node(link.Config{Routing: link.Routing{AllowNets: c.nets}, Logger: log.logger()})
			_, err := reqrep.Call(t.Context(), client, putOrder, order{ID: "o"})
			if (err == nil) != c.ok {
				t.Errorf("%s: %v", name, err)
			}
			if !c.ok && (!errors.Is(err, link.Unavailable) || !strings.Contains(log.String(), srv.Addr()) || !strings.Contains(log.String(), "Config.Routing.AllowNets")) {
				t.Errorf("%s: %v; log:\n%s", name, err, log)
			}
		}
	})
}

func TestAddressesThatAreNoMachineAreNeverDialed(t *testing.T) {
	for _, host := range []string{"169.254.169.254", "169.254.170.2", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"} {
		registry, err := static.New(discovery.Instance{ID: "orders-1", Service: "orders", Addr: host + ":7443"})
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("LINK_CLUSTER_SECRET", strings.Repeat("s3cret-", 8))
		log := &logBuffer{}
		node, err := link.New(link.Config{Registry: registry, Logger: log.logger(), Addr: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = reqrep.Call(t.Context(), node, putOrder, order{ID: "o"})
		if !errors.Is(err, link.Unavailable) || !strings.Contains(log.String(), "metadata service") ||
			!strings.Contains(err.Error(), "may be called: 1 left out, such as orders-1 at "+host+":7443") || !strings.Contains(err.Error(), "Config.Routing.AllowNets") {
			t.Errorf("%s: %v; log:\n%s", host, err, log)
		}
		if err := errors.Join(node.Close(), registry.Close()); err != nil {
			t.Error(err)
		}
	}
}
