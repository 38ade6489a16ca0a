package integration

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/integration/internal/agent"
)

// How soon a change in Consul must be a change of who is called depends on the machine: on a quiet
// one it is a time that a person would state; on a busy one it is a multiple of what a plain
// blocking query of the same agent takes to see a change, measured at that moment.
const (
	paceRounds = 5
	paceTimes  = 50
)

// paced returns limit, or more where even the agent itself is slow.
func paced(t *testing.T, a *agent.Agent, limit time.Duration) time.Duration {
	t.Helper()
	var took []time.Duration
	for range paceRounds {
		took = append(took, pace(t, a))
	}
	slices.Sort(took)
	return max(limit, paceTimes*took[len(took)/2])
}

// pace returns how long a blocking query takes to see a change of a key.
func pace(t *testing.T, a *agent.Agent) time.Duration {
	t.Helper()
	const key = "pace"
	kv := a.Client().KV()
	put := func(value string) {
		t.Helper()
		if _, err := kv.Put(&api.KVPair{Key: key, Value: []byte(value)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	put("before")
	_, meta, err := kv.Get(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	seen := make(chan error, 1)
	go func() {
		_, _, err := kv.Get(key, (&api.QueryOptions{WaitIndex: meta.LastIndex}).WithContext(ctx))
		seen <- err
	}()
	begin := time.Now()
	put("after")
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}
