package link_test

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/security"
)

func unwell(context.Context) error { return errDown }

func TestWrongConfigNamesFieldAndValue(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	dev := ca.Source("orders", securitytest.WithTier(security.TierDev))
	registry, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cfg  link.Config
		code link.Code
		want []string
	}{
		{"service", link.Config{Service: "a b"}, link.InvalidArgument, []string{"Config", `Service "a b"`}},
		{"service too long", link.Config{Service: strings.Repeat("s", 256)}, link.InvalidArgument, []string{"Config", `Service "sss`, "256"}},
		{"namespace", link.Config{Namespace: "a/b"}, link.InvalidArgument, []string{"Config", `Namespace "a/b"`}},
		{"call timeout", link.Config{Limits: link.Limits{CallTimeout: -time.Second}}, link.InvalidArgument, []string{"Config.Limits.CallTimeout", "-1s"}},
		{"drain timeout", link.Config{Limits: link.Limits{DrainTimeout: -time.Minute}}, link.InvalidArgument, []string{"Config.Limits.DrainTimeout", "-1m0s"}},
		{"advertise without port", link.Config{Advertise: "example.com"}, link.InvalidArgument, []string{"Config.Advertise", `"example.com"`}},
		{"advertise with empty port", link.Config{Advertise: "example.com:"}, link.InvalidArgument, []string{"Config.Advertise", `"example.com:"`}},
		{"advertise without host", link.Config{Advertise: ":7443"}, link.InvalidArgument, []string{"Config.Advertise", "LINK_ADVERTISE", `":7443"`}},
		{"advertise every interface", link.Config{Advertise: "0.0.0.0:7443"}, link.InvalidArgument, []string{"Config.Advertise", `"0.0.0.0:7443"`}},
		{"advertise no port", link.Config{Advertise: "example.com:0"}, link.InvalidArgument, []string{"Config.Advertise", `"example.com:0"`}},
		{"tag", link.Config{Tags: []string{"a\nb"}}, link.InvalidArgument, []string{"Config", `Tags[0] "a\nb"`}},
		{"two zones", link.Config{Tags: []string{"zone=a", "v2", "zone=b"}}, link.InvalidArgument, []string{"Config", `Tags[2] "zone=b"`, `"zone=a"`, "remove one"}},
		{"zone without a name", link.Config{Tags: []string{"zone="}}, link.InvalidArgument, []string{"Config", `Tags[0] "zone="`, "names no zone"}},
		{"region without a name", link.Config{Meta: map[string]string{"region": ""}}, link.InvalidArgument, []string{"Config", `Meta["region"]`, "names no region"}},
		{"zone of a monitor", link.Config{Monitors: map[string]func(context.Context) error{"zone=a": unwell}}, link.InvalidArgument, []string{"Config.Monitors", `"zone=a"`, "Config.Tags"}},
		{"tags", link.Config{Tags: make([]string, 65)}, link.InvalidArgument, []string{"Config", "Tags", "65"}},
		{"message limit", link.Config{Limits: link.Limits{MaxMessage: 64<<20 + 1}}, link.InvalidArgument, []string{"Config.Limits.MaxMessage", "67108865"}},
		{"dev tier beyond loopback", link.Config{Addr: "0.0.0.0:0", Identity: dev}, link.FailedPrecondition, []string{"Config.Addr", `"0.0.0.0:0"`, "loopback"}},
		{"dev tier, no address", link.Config{Addr: "nowhere", Identity: dev}, link.InvalidArgument, []string{"Config.Addr", `"nowhere"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Registry = registry
			node, err := link.New(tt.cfg)
			var e *link.Error
			if !errors.As(err, &e) || e.Code != tt.code || node != nil {
				t.Fatalf("got %v, want %v", err, tt.code)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %s", err, part)
				}
			}
		})
	}
}

func TestNoLimitMayBeNegative(t *testing.T) {
	var limits link.Limits
	refusesNegative(t, &limits, reflect.ValueOf(&limits).Elem(), "Config.Limits")
}

// refusesNegative checks that no number of v, a part of limits that users know as path, may be negative.
func refusesNegative(t *testing.T, limits *link.Limits, v reflect.Value, path string) {
	t.Helper()
	for i := range v.NumField() {
		field, name := v.Field(i), path+"."+v.Type().Field(i).Name
		if field.Kind() == reflect.Struct {
			refusesNegative(t, limits, field, name)
			continue
		}
		field.SetInt(-7)
		if _, err := link.New(link.Config{Limits: *limits}); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), name+" is -7") {
			t.Errorf("%v, want invalid argument that says that %s is -7", err, name)
		}
		field.SetInt(0)
	}
}

func TestWrongEnvironmentIsNamed(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"LINK_PEERS", "nonsense", "LINK_PEERS"},
		{"LINK_CLUSTER_SECRET", "short", "LINK_CLUSTER_SECRET"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
			t.Setenv(tt.name, tt.value)
			_, err := link.New(link.Config{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "short\"") {
				t.Errorf("got %v, want an error that names %s", err, tt.want)
			}
		})
	}
}

func TestPeersOfTheEnvironmentAreFound(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	t.Setenv("LINK_PEERS", "orders=127.0.0.1:7001,127.0.0.1:7002")
	node, err := link.New(link.Config{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := node.Instances(t.Context(), "orders")
	if err != nil || len(found) != 2 {
		t.Errorf("found %v, %v, want the two of LINK_PEERS", found, err)
	}
	if err := node.Close(); err != nil {
		t.Error(err)
	}
}

// TestNodeAnnouncesItsConfig checks what the registry shows of a node.
func TestNodeAnnouncesItsConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		tags := []string{"v2", "zone=eu-1a"}
		srv := orders(mesh, link.Config{Tags: tags, Namespace: "staging", Advertise: "orders.example:7443"}, keep)
		// The node must have its own copy of the tags.
		tags[0] = "changed"
		watch, err := mesh.Registry().Watch(t.Context(), discovery.Query{Service: "orders", Namespace: "staging"})
		if err != nil {
			t.Fatal(err)
		}
		found := (<-watch).Instances
		if len(found) != 1 || found[0].ID != srv.Instance() || found[0].Addr != "orders.example:7443" || srv.Addr() != found[0].Addr ||
			found[0].Status != discovery.Serving || len(found[0].Tags) != 2 || found[0].Tags[0] == "changed" {
			t.Errorf("the registry shows %+v", found)
		}
		if id := srv.Identity().String(); id != "spiffe://mesh.test/ns/staging/svc/orders" {
			t.Errorf("the identity is %s", id)
		}
		mesh.Stop(srv)
		for s := range watch {
			if len(s.Instances) == 0 {
				break
			}
			if s.Instances[0].Status != discovery.Draining {
				t.Errorf("while it stops the registry shows %+v", s.Instances)
			}
		}
	})
}

// TestNamespacesAreApart calls a service of one namespace from another and from its own.
func TestNamespacesAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		orders(mesh, link.Config{Namespace: "staging"}, keep)
		if _, err := callWithin(t, mesh.Node(link.Config{}), time.Second); !errors.Is(err, link.Unavailable) {
			t.Errorf("a call from another namespace: %v, want unavailable", err)
		}
		if _, err := callWithin(t, mesh.Node(link.Config{Namespace: "staging"}), time.Second); err != nil {
			t.Errorf("a call from the same namespace: %v", err)
		}
	})
}

func TestDialTimeoutActs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		if _, err := mesh.Registry().Register(t.Context(), discovery.Instance{ID: "gone", Service: "orders", Addr: "10.9.9.9:7443"}); err != nil {
			t.Fatal(err)
		}
		client := mesh.Node(link.Config{Limits: link.Limits{DialTimeout: 700 * time.Millisecond}})
		took, err := callWithin(t, client, time.Minute)
		if !errors.Is(err, link.Unavailable) || took != 700*time.Millisecond || !strings.Contains(err.Error(), "10.9.9.9:7443") {
			t.Errorf("got %v after %v, want unavailable after 700ms that names the address", err, took)
		}
	})
}

func TestUnusedConnectionIsClosedAndDialedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(10*time.Millisecond))
		orders(mesh, link.Config{}, keep)
		client := mesh.Node(link.Config{Limits: link.Limits{SessionIdle: 20 * time.Second}})
		for _, pause := range []time.Duration{0, 10 * time.Second, time.Minute, time.Hour} {
			sleep(pause)
			begin := time.Now()
			if _, err := callWithin(t, client, time.Second); err != nil {
				t.Errorf("after %v: %v", pause, err)
			}
			// A call on an open connection takes one round trip; one that dials takes longer.
			if dialed := time.Since(begin) > 20*time.Millisecond; dialed != (pause == 0 || pause > 20*time.Second) {
				t.Errorf("after %v the call took %v", pause, time.Since(begin))
			}
		}
	})
}

// TestNodeClosesItsSocket checks that a node that never used its Config.Socket closes it.
func TestNodeClosesItsSocket(t *testing.T) {
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	registry, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	node, err := link.New(link.Config{Socket: conn, Registry: registry, Identity: securitytest.NewCA(t, "mesh.test").Source("client")})
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.WriteTo([]byte("x"), conn.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket of a closed node: %v, want net.ErrClosed", err)
	}
}
