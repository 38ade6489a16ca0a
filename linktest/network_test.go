package linktest

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// lossPattern sends packets both ways between two hosts and returns, for each packet
// of the first host, "+" if it arrives and "-" if it is lost.
func lossPattern(t *testing.T, seed uint64, replies int) (pattern string) {
	t.Helper()
	n := newNetwork(seed, conditions{loss: 0.3})
	conns := make([]interface{ Close() error }, 2)
	var addrs [2]netip.AddrPort
	for i := range conns {
		conns[i], addrs[i] = n.listen()
	}
	for range 200 {
		if n.arrives(n.hosts[addrs[0]], addrs[0], addrs[1]) != nil {
			pattern += "+"
		} else {
			pattern += "-"
		}
		for range replies {
			n.arrives(n.hosts[addrs[1]], addrs[1], addrs[0])
		}
	}
	for _, c := range conns {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	n.close()
	return pattern
}

func TestLossRepeatsWithItsSeed(t *testing.T) {
	first := lossPattern(t, 1, 1)
	if again := lossPattern(t, 1, 1); again != first {
		t.Errorf("the same seed lost\n%s, then\n%s", first, again)
	}
	if other := lossPattern(t, 1, 5); other != first {
		t.Errorf("with more packets the other way the seed lost\n%s, not\n%s", other, first)
	}
	if other := lossPattern(t, 2, 1); other == first {
		t.Error("two seeds lost the same packets")
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    conditions
		ok   bool
	}{
		{"nothing", conditions{}, true},
		{"everything lost", conditions{delay: time.Hour, loss: 1}, true},
		{"negative delay", conditions{delay: -1}, false},
		{"negative loss", conditions{loss: -0.1}, false},
		{"loss in percent", conditions{loss: 5}, false},
	} {
		if err := tt.c.validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestBubbleIsFound(t *testing.T) {
	if inBubble() {
		t.Error("a bubble is found where there is none")
	}
	synctest.Test(t, func(t *testing.T) {
		if !inBubble() {
			t.Error("the bubble is not found")
		}
	})
}
