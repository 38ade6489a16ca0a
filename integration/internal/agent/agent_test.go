package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"github.com/linkmesh/link/integration/internal/agent"
)

// panicEnv makes the test binary start an agent and panic; see TestAPanicLeavesNoAgent.
const panicEnv = "LINK_AGENT_TEST_PANIC"

// within bounds the waits for events.
const within = 4 * time.Minute

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// eventually looks at a state that announces no change, until it holds.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(within); ; <-ticker.C {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
	}
}

// put writes a key.
func put(a *agent.Agent, key string) error {
	_, err := a.Client().KV().Put(&api.KVPair{Key: key, Value: []byte("v")}, nil)
	return err
}

// has returns nil if the agent's cluster has the key.
func has(a *agent.Agent, key string) error {
	pair, _, err := a.Client().KV().Get(key, &api.QueryOptions{RequireConsistent: true})
	if err == nil && pair == nil {
		err = errors.New("no such key")
	}
	return err
}

func TestAnAgentOfThePinnedVersionAnswers(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{Datacenter: "east"})
	self, err := a.Client().Agent().Self()
	if err != nil {
		t.Fatal(err)
	}
	config := self["Config"]
	if got := fmt.Sprint("v", config["Version"]); got != agent.Version {
		t.Errorf("the agent is %s, want %s", got, agent.Version)
	}
	if config["Datacenter"] != "east" || config["NodeName"] != a.Node() {
		t.Errorf("the agent is %v", config)
	}
}

func TestRestartsOnTheSameAddress(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{Durable: true})
	if err := put(a, "k"); err != nil {
		t.Fatal(err)
	}
	address := a.Address()
	a.Kill()
	a.Kill() // harmless
	if err := has(a, "k"); err == nil {
		t.Error("a killed agent answers")
	}
	a.Restart()
	if a.Address() != address {
		t.Errorf("address %s became %s", address, a.Address())
	}
	if err := has(a, "k"); err != nil {
		t.Errorf("data is lost by a restart: %v", err)
	}
	a.RestartEmpty()
	if err := has(a, "k"); err == nil {
		t.Error("data outlives an empty restart")
	}
}

func TestAFrozenAgentAnswersNothingUntilItGoesOn(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	a.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := a.Client().Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a frozen agent answered: %v", err)
	}
	a.Cont()
	eventually(t, "an answer", func() error { return put(a, "k") })
}

func TestACLsDenyWhatNoTokenAllows(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{ACL: true})
	token := a.NewToken("", "orders")
	client, err := api.NewClient(&api.Config{Address: a.Address(), Token: token.Secret})
	if err != nil {
		t.Fatal(err)
	}
	register := func(service string) error {
		return client.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: service + "-1", Name: service, Port: 1})
	}
	denied := func(err error) bool {
		var status api.StatusError
		return errors.As(err, &status) && status.Code == http.StatusForbidden
	}
	if err := register("orders"); err != nil {
		t.Errorf("registering with a service identity: %v", err)
	}
	if err := register("billing"); !denied(err) {
		t.Errorf("registering another service: %v", err)
	}
	filtered := func() error {
		_, meta, err := client.Health().Service("orders", "", false, nil)
		if err == nil && !meta.ResultsFilteredByACLs {
			err = errors.New("all is shown")
		}
		return err
	}
	if err := filtered(); err == nil {
		t.Error("a service identity may not read")
	}
	eventually(t, "the registration", func() error {
		found, _, err := client.Health().Service("orders", "", false, nil)
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("found %v", found)
		}
		return err
	})
	a.Narrow(token, `key_prefix "" { policy = "read" }`)
	eventually(t, "the filter", filtered)
	a.Revoke(token)
	eventually(t, "the refusal", func() error {
		if err := register("orders"); !denied(err) {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
	for _, text := range []string{fmt.Sprint(token), fmt.Sprintf("%+v", token), fmt.Sprintf("%#v", token)} {
		if strings.Contains(text, token.Secret) {
			t.Errorf("the secret is printed: %s", text)
		}
	}
}

func TestAClusterOutlivesItsLeader(t *testing.T) {
	t.Parallel()
	c := agent.StartCluster(t, 3)
	leader := c.Leader()
	if n := len(c.Followers()); n != 2 {
		t.Fatalf("%d followers", n)
	}
	if err := put(leader, "k"); err != nil {
		t.Fatal(err)
	}
	leader.Kill()
	next := c.Leader()
	if next == leader {
		t.Fatal("the dead server leads")
	}
	if err := has(next, "k"); err != nil {
		t.Errorf("data is lost with the leader: %v", err)
	}
	leader.Restart()
	c.Leader()
	if n := len(c.Followers()); n != 2 {
		t.Errorf("%d followers after the restart", n)
	}
}

// TestAPanicLeavesNoAgent runs this binary again, with a test that panics.
func TestAPanicLeavesNoAgent(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanics$")
	cmd.Env = append(os.Environ(), panicEnv+"=1")
	out, err := cmd.Output()
	if err == nil {
		t.Fatalf("the other test did not panic: %s", out)
	}
	_, rest, _ := strings.Cut(string(out), "agent=")
	url, _, ok := strings.Cut(rest, "\n")
	if !ok {
		t.Fatalf("the other test said: %s", out)
	}
	eventually(t, "the end of the agent", func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/status/leader", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil //nolint:nilerr // nobody listens any more
		}
		return errors.Join(errors.New("it still answers"), answer.Body.Close())
	})
}

// TestPanics is the other half of the test above.
func TestPanics(t *testing.T) {
	if os.Getenv(panicEnv) == "" {
		return
	}
	a := agent.Start(t, agent.Config{})
	fmt.Println("agent=" + a.URL())
	go panic("on another goroutine, so that no cleanup runs")
	<-t.Context().Done()
}
