package linktest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type orderQuery struct{ ID string }

type order struct {
	ID    string
	Cents int64
}

var getOrder = reqrep.NewMethod[orderQuery, order]("orders", "get", link.ReadOnly)

func get(_ context.Context, q orderQuery) (order, error) {
	if q.ID == "" {
		return order{}, link.Errorf(link.InvalidArgument, "no order ID")
	}
	return order{ID: q.ID, Cents: 4200}, nil
}

// start returns a running orders node.
func start(mesh *linktest.Mesh) *link.Node {
	srv := mesh.Node(link.Config{Service: "orders"})
	reqrep.Handle(srv, getOrder, get)
	mesh.Start(srv)
	return srv
}

func TestGetOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := mesh.Node(link.Config{Service: "orders"})
		reqrep.Handle(srv, getOrder, get)
		mesh.Start(srv)

		_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{Service: "gateway"}), getOrder, orderQuery{})
		if !errors.Is(err, link.InvalidArgument) {
			t.Errorf("call without an ID: got %v, want invalid argument", err)
		}
	})
}

func TestMeshWorksInRealTime(t *testing.T) {
	mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
	start(mesh)
	got, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), getOrder, orderQuery{ID: "o-1"})
	if want := (order{ID: "o-1", Cents: 4200}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestNetworkFaultsReachCalls(t *testing.T) {
	for _, tt := range []struct {
		name   string
		do     func(mesh *linktest.Mesh, srv, client *link.Node)
		undo   func(mesh *linktest.Mesh, srv, client *link.Node)
		broken bool
		// least is the minimum duration of the call during the fault.
		least time.Duration
	}{
		{
			name:  "delay between all nodes",
			do:    func(m *linktest.Mesh, _, _ *link.Node) { m.SetDelay(300 * time.Millisecond) },
			undo:  func(m *linktest.Mesh, _, _ *link.Node) { m.SetDelay(0) },
			least: 600 * time.Millisecond,
		},
		{
			name:  "delay between two nodes",
			do:    func(m *linktest.Mesh, a, b *link.Node) { m.SetDelayBetween(a, b, 300*time.Millisecond) },
			undo:  func(m *linktest.Mesh, a, b *link.Node) { m.SetDelayBetween(a, b, 0) },
			least: 600 * time.Millisecond,
		},
		{
			name:   "all packets lost",
			do:     func(m *linktest.Mesh, _, _ *link.Node) { m.SetLoss(1) },
			undo:   func(m *linktest.Mesh, _, _ *link.Node) { m.SetLoss(0) },
			broken: true,
		},
		{
			name:   "all packets between two nodes lost",
			do:     func(m *linktest.Mesh, a, b *link.Node) { m.SetLossBetween(a, b, 1) },
			undo:   func(m *linktest.Mesh, a, b *link.Node) { m.SetLossBetween(a, b, 0) },
			broken: true,
		},
		{
			name:   "partition",
			do:     func(m *linktest.Mesh, a, b *link.Node) { m.Partition(a, b) },
			undo:   func(m *linktest.Mesh, a, b *link.Node) { m.Heal(a, b) },
			broken: true,
		},
		{
			name:   "partition of requests",
			do:     func(m *linktest.Mesh, srv, client *link.Node) { m.PartitionOneWay(client, srv) },
			undo:   func(m *linktest.Mesh, a, b *link.Node) { m.Heal(a, b) },
			broken: true,
		},
		{
			name:   "partition of replies",
			do:     func(m *linktest.Mesh, srv, client *link.Node) { m.PartitionOneWay(srv, client) },
			undo:   func(m *linktest.Mesh, a, b *link.Node) { m.Heal(b, a) },
			broken: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				srv, client, other := start(mesh), mesh.Node(link.Config{}), mesh.Node(link.Config{})
				call := func(node *link.Node) (time.Duration, error) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					begin := time.Now()
					_, err := reqrep.Call(ctx, node, getOrder, orderQuery{ID: "o-1"})
					return time.Since(begin), err
				}
				for _, node := range []*link.Node{client, other} {
					if took, err := call(node); err != nil || took != 0 {
						t.Fatalf("before the fault: took %v, %v", took, err)
					}
				}
				tt.do(mesh, srv, client)
				took, err := call(client)
				if broken := err != nil; broken != tt.broken || took < tt.least {
					t.Errorf("under the fault: took %v, %v", took, err)
				}
				tt.undo(mesh, srv, client)
				time.Sleep(5 * time.Second) //nolint:forbidigo // virtual time
				if _, err := call(client); err != nil {
					t.Errorf("after the fault: %v", err)
				}
				if took, err := call(other); err != nil || took != 0 {
					t.Errorf("another node after the fault: took %v, %v", took, err)
				}
			})
		})
	}
}

func TestKilledNodeIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		dead, client := start(mesh), mesh.Node(link.Config{})
		if _, err := reqrep.Call(t.Context(), client, getOrder, orderQuery{ID: "o-1"}); err != nil {
			t.Fatal(err)
		}
		mesh.Kill(dead)
		if got := mesh.Registry().Describe(); got != "static registry (0 listed, 0 registered)" {
			t.Errorf("after Kill: %s", got)
		}
		alive := start(mesh)
		var who link.Peer
		if _, err := reqrep.Call(t.Context(), client, getOrder, orderQuery{ID: "o-1"}, link.AnsweredBy(&who)); err != nil || who.Instance != alive.Instance() {
			t.Errorf("after Kill %s answered, %v, want %s", who, err, alive.Instance())
		}
	})
}

func TestStoppedNodeTellsItsPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv, client := start(mesh), mesh.Node(link.Config{})
		if _, err := reqrep.Call(t.Context(), client, getOrder, orderQuery{ID: "o-1"}); err != nil {
			t.Fatal(err)
		}
		mesh.Stop(srv)
		begin := time.Now()
		if _, err := reqrep.Call(t.Context(), client, getOrder, orderQuery{ID: "o-1"}); !errors.Is(err, link.Unavailable) || time.Since(begin) != 0 {
			t.Errorf("after Stop: %v after %v, want unavailable at once", err, time.Since(begin))
		}
		mesh.Stop(client)
		if _, err := reqrep.Call(t.Context(), client, getOrder, orderQuery{ID: "o-1"}); !errors.Is(err, link.Unavailable) {
			t.Errorf("of a stopped client: %v, want unavailable", err)
		}
	})
}

// TestMembersDoNotDependOnTheShell checks that variables that a developer has set for other
// programs do not affect a test unless the test asks for them.
func TestMembersDoNotDependOnTheShell(t *testing.T) {
	for name, value := range map[string]string{
		"LINK_TAGS": "v9", "LINK_ZONE": "z9", "LINK_NAMESPACE": "n9", "LINK_TOPOLOGY": "/nowhere", "LINK_PEERS": "nonsense",
		"LINK_ADDR": "nonsense", "LINK_ADVERTISE": "nonsense", "LINK_STATE_DIR": "/nowhere", "LINK_ENV": "nonsense",
		"LINK_CLUSTER_SECRET": "short", "CONSUL_HTTP_ADDR": "nonsense",
	} {
		t.Setenv(name, value)
	}
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "orders", Tags: []string{"own"}})
		if got := node.Status().Tags; !slices.Equal(got, []string{"own"}) {
			t.Errorf("the node has the tags %q", got)
		}
		if got := node.Identity().Namespace(); got != "default" {
			t.Errorf("the node is in the namespace %q", got)
		}
		mesh.Start(node)
		asked := mesh.Node(link.Config{LookupEnv: func(name string) (string, bool) { return "eu-1a", name == "LINK_ZONE" }})
		if got := asked.Status().Tags; !slices.Equal(got, []string{"zone=eu-1a"}) {
			t.Errorf("a node with variables of the test has the tags %q", got)
		}
	})
}
