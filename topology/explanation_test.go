package topology_test

import (
	"testing"

	"github.com/linkmesh/link/topology"
)

func TestZeroExplanationPrints(t *testing.T) {
	if text := (topology.Explanation{}).String(); text == "" {
		t.Error("nothing")
	}
}
