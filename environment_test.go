package link_test

import (
	"errors"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/shell"
	"github.com/linkmesh/link/security"
)

// announcing runs a node and returns what it announces.
func announcing(t *testing.T, cfg link.Config) discovery.Instance {
	t.Helper()
	registry, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Registry = registry
	node, err := link.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Run(t.Context()) }()
	select {
	case <-node.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	q := discovery.Query{Service: cfg.Service, Namespace: node.Identity().Namespace()}
	snapshots, err := registry.Watch(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	s := <-snapshots
	if len(s.Instances) != 1 {
		t.Fatalf("%d instances of %s", len(s.Instances), q)
	}
	return s.Instances[0]
}

func TestTheEnvironmentStandsInForFields(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	t.Setenv("LINK_ADDR", "127.0.0.1:0")
	t.Setenv("LINK_ADVERTISE", "orders.internal:7443")
	t.Setenv("LINK_TAGS", "v2, canary ,tier=gold")
	t.Setenv("LINK_ZONE", "eu-1a")
	t.Setenv("LINK_NAMESPACE", "blue")
	in := announcing(t, link.Config{Service: "orders", Tags: []string{"own"}})
	if want := []string{"canary", "own", "tier=gold", "v2", "zone=eu-1a"}; in.Addr != "orders.internal:7443" || in.Namespace != "blue" || !slices.Equal(in.Tags, want) {
		t.Errorf("announced %+v, want %q", in, want)
	}
	in = announcing(t, link.Config{
		Service: "orders", Namespace: "green", Advertise: "127.0.0.1:7", Tags: []string{"zone=own", "tier=silver"},
	})
	if want := []string{"canary", "tier=silver", "v2", "zone=own"}; in.Addr != "127.0.0.1:7" || in.Namespace != "green" || !slices.Equal(in.Tags, want) {
		t.Errorf("what the program says counts: announced %+v, want %q", in, want)
	}
}

// TestAnAddressOfTheEnvironmentIsNotForASocketOfTheProgram checks that LINK_ADVERTISE does not apply to Config.Socket.
func TestAnAddressOfTheEnvironmentIsNotForASocketOfTheProgram(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	t.Setenv("LINK_ADVERTISE", "orders.internal:7443")
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if in := announcing(t, link.Config{Service: "orders", Socket: socket}); in.Addr != socket.LocalAddr().String() {
		t.Errorf("announced %s, want the address of the socket, %s", in.Addr, socket.LocalAddr())
	}
}

// TestTheFolderForWhatOutlivesAProcess checks that LINK_STATE_DIR names the state folder unless Config.StateDir does.
func TestTheFolderForWhatOutlivesAProcess(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	named, own := filepath.Join(t.TempDir(), "named"), filepath.Join(t.TempDir(), "own")
	t.Setenv("LINK_STATE_DIR", named)
	for _, test := range []struct{ said, used, unused string }{{"", named, own}, {own, own, ""}} {
		announcing(t, link.Config{Service: "orders", Addr: freeAddr(t), StateDir: test.said})
		if _, err := os.Stat(filepath.Join(test.used, "reset.secret")); err != nil {
			t.Errorf("with the folder %q in the program: %v", test.said, err)
		}
		if _, err := os.Stat(test.unused); err == nil {
			t.Errorf("with the folder %q in the program, %s was made", test.said, test.unused)
		}
	}
	t.Setenv("LINK_STATE_DIR", "off")
	announcing(t, link.Config{Service: "orders", Addr: freeAddr(t)})
	if _, err := os.Stat("off"); err == nil {
		t.Error("a folder called off was made")
	}
}

func TestAVariableThatIsWrongIsNamed(t *testing.T) {
	for variable, value := range map[string]string{
		"LINK_ADDR": "7443", "LINK_ADVERTISE": "orders", "LINK_TAGS": "v2,,v3", "LINK_ZONE": "eu 1a", "LINK_NAMESPACE": "a/b",
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
			t.Setenv(variable, value)
			_, err := link.New(link.Config{Service: "orders"})
			if !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), variable) {
				t.Errorf("%v, want invalid argument with the name", err)
			}
		})
	}
}

// TestAPlaceOfTheEnvironmentIsOnePlace checks that two different zones of the environment are an error.
func TestAPlaceOfTheEnvironmentIsOnePlace(t *testing.T) {
	for _, c := range []struct {
		zone, tags string
		own        []string
		// wrong is part of the expected error; "" expects none.
		wrong string
	}{
		{"a", "zone=a,v2", nil, ""},
		// A zone in Config.Tags takes precedence.
		{"a", "zone=b", []string{"zone=c"}, ""},
		{"", "tier=gold,tier=silver", nil, ""},
		{"a", "zone=b", nil, `"zone=b": "zone=a" is there, too`},
		{"", "zone=a,v2,zone=b", nil, `"zone=b": "zone=a" is there, too`},
		{"", "zone=", nil, "names no zone"},
	} {
		t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
		t.Setenv("LINK_ZONE", c.zone)
		t.Setenv("LINK_TAGS", c.tags)
		node, err := link.New(link.Config{Service: "orders", Tags: c.own})
		switch {
		case err == nil:
			if err := node.Close(); err != nil {
				t.Error(err)
			}
			if c.wrong != "" {
				t.Errorf("LINK_ZONE=%s LINK_TAGS=%s: no error, want %s", c.zone, c.tags, c.wrong)
			}
		case c.wrong == "" || !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), c.wrong) || !strings.Contains(err.Error(), "LINK_TAGS"):
			t.Errorf("LINK_ZONE=%s LINK_TAGS=%s: %v, want invalid argument with %q", c.zone, c.tags, err, c.wrong)
		}
	}
}

// TestAClientLeavesTheAddressToTheServer checks that a client does not take the port of LINK_ADDR from a server in the
// same process.
func TestAClientLeavesTheAddressToTheServer(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	var lc net.ListenConfig
	held, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	t.Setenv("LINK_ADDR", held.LocalAddr().String())
	registry, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	client, err := link.New(link.Config{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if _, err := link.HostOf(client).Follow(t.Context(), readOrder.Route()); err != nil {
		t.Errorf("a client: %v", err)
	}
	server, err := link.New(link.Config{Service: "orders", Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Run(t.Context()); !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), held.LocalAddr().String()) {
		t.Errorf("a server whose address is taken: %v", err)
	}
}

func TestANodeSaysWhereItListens(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	log := &logBuffer{}
	announcing(t, link.Config{Service: "orders", Logger: slog.New(slog.NewTextHandler(log, nil))})
	if text := log.String(); !strings.Contains(text, "link: node listens") || !strings.Contains(text, "tier=cluster-secret") || !strings.Contains(text, "127.0.0.1:") || strings.Contains(text, "listens=[[::]") {
		t.Errorf("the log:\n%s", text)
	}
}

// TestVariablesComeFromWhereTheProgramSays checks that all variables are read through Config.LookupEnv.
func TestVariablesComeFromWhereTheProgramSays(t *testing.T) {
	dir := t.TempDir()
	document := filepath.Join(dir, "topology.yaml")
	if err := os.WriteFile(document, []byte("version: link/v1\nservices: { orders: { timeout: 7s } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	variables := map[string]string{
		"LINK_CLUSTER_SECRET": security.NewSecret(), "LINK_ENV": "test", "LINK_ADDR": addr, "LINK_ADVERTISE": "orders.internal:7443",
		"LINK_TAGS": "v2", "LINK_ZONE": "eu-1a", "LINK_NAMESPACE": "blue", "LINK_TOPOLOGY": document,
		"LINK_STATE_DIR": filepath.Join(dir, "state"), "LINK_PEERS": "blue/users=127.0.0.1:7001", "KUBERNETES_SERVICE_HOST": "10.0.0.1",
	}
	asked := make(map[string]bool)
	lookup := func(name string) (string, bool) {
		asked[name] = true
		value, ok := variables[name]
		return value, ok
	}
	in := announcing(t, link.Config{Service: "orders", LookupEnv: lookup})
	if want := []string{"v2", "zone=eu-1a"}; in.Addr != "orders.internal:7443" || in.Namespace != "blue" || !slices.Equal(in.Tags, want) {
		t.Errorf("announced %+v", in)
	}
	if _, err := os.Stat(filepath.Join(dir, "state", "reset.secret")); err != nil {
		t.Errorf("the state folder: %v", err)
	}
	client, err := link.New(link.Config{LookupEnv: lookup})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	found, err := client.Instances(t.Context(), "users")
	if err != nil || len(found) != 1 || client.Identity().TrustDomain() != "cluster.link" {
		t.Errorf("%s finds %v, %v", client.Identity(), found, err)
	}
	e, err := client.Explain(t.Context(), readOrder.Route())
	if err != nil || !e.Asked || e.Timeout != 7*time.Second {
		t.Errorf("the topology says %+v, %v", e, err)
	}
	delete(variables, "LINK_PEERS")
	variables["CONSUL_HTTP_ADDR"] = "nonsense"
	if _, err := link.New(link.Config{LookupEnv: lookup}); err == nil || !strings.Contains(err.Error(), "CONSUL_HTTP_ADDR") {
		t.Errorf("a wrong address of Consul: %v", err)
	}
	// Package shell must keep exactly these variables from tests.
	if got, want := slices.Sorted(maps.Keys(asked)), slices.Sorted(slices.Values(shell.Variables())); !slices.Equal(got, want) {
		t.Errorf("looked up %q, want %q", got, want)
	}
}

// TestAVariableThatIsMisspelledIsSaid checks that a misspelled variable is logged rather than silently ignored.
func TestAVariableThatIsMisspelledIsSaid(t *testing.T) {
	for name, meant := range map[string]string{
		"LINK_CLUSTERSECRET": "LINK_CLUSTER_SECRET", "LINK_SECRET": "LINK_CLUSTER_SECRET", "LINK_TAG": "LINK_TAGS", "LINK_PEER": "LINK_PEERS",
		"LINK_ADDRESS": "LINK_ADDR", "LINK_NAME_SPACE": "LINK_NAMESPACE", "link_zone": "LINK_ZONE", "LINK_TOPOLGY": "LINK_TOPOLOGY",
		"LINK_ENVS": "LINK_ENV", "LINK_ADVERTISED": "LINK_ADVERTISE", "LINK_STATEDIR": "LINK_STATE_DIR",
		// Variables of other programs, such as those of Kubernetes for a service called link, are not logged.
		"LINK_SERVICE_HOST": "", "LINK_PORT": "", "LINK_PORT_7443_UDP_ADDR": "", "LINKED_TAGS": "", "LINK_HOME": "", "LINK_": "", "LINK_KEY": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "value-that-may-be-secret")
			log := &logBuffer{}
			node, err := link.New(link.Config{Logger: log.logger()})
			if err != nil {
				t.Fatal(err)
			}
			if err := node.Close(); err != nil {
				t.Error(err)
			}
			text := log.String()
			if said := strings.Contains(text, "variable="+name+" meant="+meant+"\n"); said != (meant != "") || meant == "" && strings.Contains(text, "variable=") {
				t.Errorf("want %q to be proposed:\n%s", meant, text)
			}
			if strings.Contains(text, "value-that") {
				t.Errorf("the value is in the log:\n%s", text)
			}
		})
	}
}
