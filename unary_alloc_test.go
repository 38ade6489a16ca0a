package link_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
)

// callBudget is the maximum number of allocations of one unary call, both sides together:
// a quarter of the 173 that gRPC-Go makes for the same call (bench -allocs).
const callBudget = 43

func TestCallAllocs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "topology.yaml")
	text := "version: link/v1\nservices: { echo: { subsets: { all: { meta: { none: x } } }, " +
		"routes: [{ match: { meta: { x: y } }, to: all }, { to: { any: 90, all: 10 }, sticky: meta:tenant }], failover: [any] } }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, topology := range map[string]string{"without a topology": "", "with one": file} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LINK_TOPOLOGY", topology)
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
		})
	}
}
