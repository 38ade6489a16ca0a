package integration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/consul"
	"github.com/linkmesh/link/integration/internal/agent"
	"github.com/linkmesh/link/security"
)

// TestWithoutRightsTheErrorSaysWhichAreMissing registers with tokens that may not.
func TestWithoutRightsTheErrorSaysWhichAreMissing(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{ACL: true})
	m := newMesh(t)
	other := a.NewToken("", "billing")
	for name, token := range map[string]string{
		"no token":                    "",
		"the token of another":        other.Secret,
		"a token that does not exist": "11111111-2222-3333-4444-555555555555",
	} {
		r := m.registry(a.Address(), func(c *consul.Config) { c.Token = security.Hide(token) })
		g, err := r.Register(t.Context(), instance())
		if err == nil {
			t.Errorf("%s: registered", name)
			_ = g.Close()
			continue
		}
		if !errors.Is(err, consul.ErrDenied) || !strings.Contains(err.Error(), `service "orders"`) || !strings.Contains(err.Error(), `policy = "write"`) {
			t.Errorf("%s: %v", name, err)
		}
		if token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
	r := m.registry(a.Address(), func(c *consul.Config) { c.Token = security.Hide(a.NewToken("", service).Secret) })
	in := instance()
	register(t, r, in)
	follow(t, r, service).untilIDs(in.ID)
}

// writeToken replaces a token file as an agent of a secret store does.
func writeToken(t *testing.T, file string, token agent.Token) {
	t.Helper()
	next := file + ".next"
	if err := os.WriteFile(next, []byte(token.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

// TestARevokedTokenCostsNoCall revokes the token that server and client use, and puts another into
// their file.
func TestARevokedTokenCostsNoCall(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{ACL: true})
	m := newMesh(t)
	file := filepath.Join(t.TempDir(), "token")
	old := a.NewToken("", service)
	writeToken(t, file, old)
	fromFile := func(c *consul.Config) { c.TokenFile = file }
	s := m.serve(m.registry(a.Address(), fromFile), link.Config{})
	r := m.registry(a.Address(), fromFile)
	client := m.client(r)
	untilAnswered(t, client, s)
	w := follow(t, r, service)
	w.untilIDs(s.Instance())

	tr := startTraffic(t, client, write)
	tr.through(100)
	a.Revoke(old)
	last := w.until("a word that it is stale", func(s discovery.Snapshot) bool { return s.Stale })
	if last.Reason == "" {
		t.Errorf("snapshot %+v", last)
	}
	tr.through(400)
	writeToken(t, file, a.NewToken("", service))
	w.untilIDs(s.Instance())
	// The server's heartbeats count again, and it can be withdrawn.
	tr.lasts(checkTTL)
	if err := hasStatus(t, a, s.Instance(), "passing")(); err != nil {
		t.Error(err)
	}
	next := m.serve(m.registry(a.Address(), fromFile), link.Config{})
	w.untilIDs(s.Instance(), next.Instance())
	tr.stop()
	s.stop()
	w.untilIDs(next.Instance())
	w.neverBelow(1)
	if text := m.log.String(); strings.Contains(text, old.Secret) {
		t.Error("the log shows the token")
	}
}

// TestATokenThatMayNoLongerReadEmptiesNothing takes the right to read: Consul then answers with
// nothing, and says so in a header only.
func TestATokenThatMayNoLongerReadEmptiesNothing(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{ACL: true})
	m := newMesh(t)
	in := instance()
	register(t, m.registry(a.Address(), func(c *consul.Config) { c.Token = security.Hide(a.Token()) }), in)
	token := a.NewToken("", service)
	w := follow(t, m.registry(a.Address(), func(c *consul.Config) { c.Token = security.Hide(token.Secret) }), service)
	w.untilIDs(in.ID)
	a.Narrow(token, `key_prefix "" { policy = "read" }`)
	// A query that waits hears nothing of it until it ends, which takes up to a minute.
	last := w.untilWithin(within, "a word that it is stale", func(s discovery.Snapshot) bool { return s.Stale })
	if !same(last.Instances, in.ID) || !strings.Contains(strings.ToLower(last.Reason), "acl") {
		t.Errorf("snapshot %+v", last)
	}
	a.Narrow(token, `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`)
	w.untilIDs(in.ID)
	w.neverBelow(1)
}

// TestAServerWithAWrongTokenIsCalledOn puts a token that does not exist into the file of the only
// server. Its check dies, so that Consul shows nobody, but its connection lives.
func TestAServerWithAWrongTokenIsCalledOn(t *testing.T) {
	t.Parallel()
	const wrong = 50 * time.Second // far beyond the check, and beyond what a node holds for a while
	a := agent.Start(t, agent.Config{ACL: true})
	m := newMesh(t)
	right := a.NewToken("", service)
	file := filepath.Join(t.TempDir(), "token")
	writeToken(t, file, right)
	s := m.serve(m.registry(a.Address(), func(c *consul.Config) { c.TokenFile = file }), link.Config{})
	r := m.registry(a.Address(), func(c *consul.Config) { c.Token = security.Hide(right.Secret) })
	client := m.client(r)
	untilAnswered(t, client, s)
	w := follow(t, r, service)
	w.untilIDs(s.Instance())

	tr := startTraffic(t, client, write)
	tr.through(100)
	writeToken(t, file, agent.Token{Secret: "11111111-2222-3333-4444-555555555555"})
	begin := time.Now()
	w.untilIDs() // in good form: nothing tells the client that anything is wrong
	if err := hasStatus(t, a, s.Instance(), "critical")(); err != nil {
		t.Error(err)
	}
	tr.lasts(wrong - time.Since(begin))
	if snapshots := w.history(); len(snapshots[len(snapshots)-1].Instances) > 0 {
		t.Errorf("Consul shows the server again, so nothing was tested: %+v", snapshots[len(snapshots)-1])
	}
	writeToken(t, file, right)
	w.untilIDs(s.Instance())
	tr.through(100)
	tr.stop()
}
