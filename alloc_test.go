package link_test

import (
	"context"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
)

// callBudget is the most allocations of one unary call, both sides together: a
// quarter of what gRPC-Go makes for the same call (173, bench -allocs).
const callBudget = 43

func TestCallAllocs(t *testing.T) {
	client := pair(t)
	m := echoMessage{make([]byte, 64)}
	call := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := reqrep.Call(ctx, client, echo, m, link.Meta("tenant", "acme"), link.Meta("request", "0b6f3a52")); err != nil {
			t.Error(err)
		}
	}
	for range 100 {
		call()
	}
	got := testing.AllocsPerRun(2000, call)
	t.Logf("%.1f allocations per call, both sides", got)
	if got > callBudget {
		t.Errorf("a call makes %.1f allocations on both sides, want at most %d", got, callBudget)
	}
}
