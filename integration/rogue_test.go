package integration

import (
	"fmt"
	"maps"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/integration/internal/agent"
)

// forge writes an instance of service into the catalog as an attacker who may write there would:
// without link, without a check.
func forge(t *testing.T, a *agent.Agent, id, addr string, meta map[string]string) {
	t.Helper()
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"link-proto": "1", "link-ns": discovery.DefaultNamespace}
	maps.Copy(all, meta)
	if err := a.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: id, Name: service, Address: host, Port: port, Meta: all, Tags: []string{"link-ns-default"},
	}); err != nil {
		t.Fatal(err)
	}
}

// silent returns an address at which a socket takes packets and answers none.
func silent(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn.LocalAddr().String()
}

// besideRogues makes calls to the one honest instance while the catalog lists others, and fails the
// test for each call that fails. forged is how many of those may be dialed, forbidden how many not.
func besideRogues(t *testing.T, a *agent.Agent, m *mesh, forged, forbidden int) {
	t.Helper()
	honest := m.serve(m.registry(a.Address()), link.Config{})
	r := m.registry(a.Address())
	client := m.client(r)
	follow(t, r, service).until("all that is listed", func(s discovery.Snapshot) bool {
		return len(s.Instances) == forged+forbidden+1
	})
	tr := startTraffic(t, client, write)
	eventually(t, "many calls", within, func() error {
		if n := tr.answered(honest.Instance()); n < 2000 {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
	tr.stop()
	if n := tr.answered(honest.Instance()); n+tr.failed != tr.calls {
		t.Errorf("the honest instance answered %d of %d calls", n, tr.calls)
	}
	if got := client.Status().Services[0].LeftOut; got != forbidden {
		t.Errorf("%d instances are left out, want %d", got, forbidden)
	}
}

// TestAHundredImpostorsBesideOneHonestInstance lists nodes of the mesh that prove another name, and
// addresses that nobody may dial.
func TestAHundredImpostorsBesideOneHonestInstance(t *testing.T) {
	t.Parallel()
	const impostors, forbidden = 100, 10
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	var liars []*server
	for i := range impostors {
		s := m.start("mallory", nothing{}, link.Config{})
		<-s.Ready()
		liars = append(liars, s)
		forge(t, a, fmt.Sprintf("rogue-%d", i), s.Addr(), nil)
	}
	for i := range forbidden {
		forge(t, a, fmt.Sprintf("rogue-off-%d", i), fmt.Sprintf("169.254.169.254:%d", 1000+i), nil)
	}
	besideRogues(t, a, m, impostors, forbidden)
	for i, s := range liars {
		if s.calls.Load() != 0 {
			t.Errorf("impostor %d got %d calls", i, s.calls.Load())
		}
		// Calls that wait for the same dial find out the same, which is said once.
		if n := m.log.lines("wrong identity", fmt.Sprintf("instance=rogue-%d ", i)); n > 1 {
			t.Errorf("that impostor %d has the wrong identity was said %d times", i, n)
		}
	}
}

// TestAHundredSilentRoguesBesideOneHonestInstance lists sockets that answer nothing, so that each
// try takes as long as a dial may.
func TestAHundredSilentRoguesBesideOneHonestInstance(t *testing.T) {
	t.Parallel()
	const mute = 100
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	for i := range mute {
		forge(t, a, fmt.Sprintf("rogue-%d", i), silent(t), nil)
	}
	besideRogues(t, a, m, mute, 0)
}

// TestAnHonestClockThatIsWrongCostsNothing lists instances that claim to have started a day from
// now, a day ago, and at no time at all: Started is a hint about warmth, not about life.
func TestAnHonestClockThatIsWrongCostsNothing(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	r := m.registry(a.Address())
	started := func(at time.Time) discovery.Instance {
		s := m.start("orders", nothing{}, link.Config{})
		<-s.Ready()
		return discovery.Instance{ID: s.Instance(), Service: service, Addr: s.Addr(), Started: at}
	}
	ahead, behind := started(time.Now().Add(24*time.Hour)), started(time.Now().Add(-24*time.Hour))
	register(t, r, ahead)
	register(t, r, behind)
	odd := m.start("orders", nothing{}, link.Config{})
	<-odd.Ready()
	forge(t, a, odd.Instance(), odd.Addr(), map[string]string{"link-started": "yesterday"})

	client := m.client(m.registry(a.Address()))
	tr := startTraffic(t, client, write)
	eventually(t, "answers of those whose clock is wrong", within, func() error {
		for _, in := range []discovery.Instance{ahead, behind} {
			if tr.answered(in.ID) < 10 {
				return fmt.Errorf("%s has answered %d calls", in.ID, tr.answered(in.ID))
			}
		}
		return nil
	})
	tr.stop()
}
