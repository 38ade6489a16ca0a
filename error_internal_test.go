package link

import "testing"

// TestSpansShowNoAddresses checks that SpanDescription removes addresses, as package tracing promises.
func TestSpansShowNoAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"no instance is registered in Consul at 10.0.0.3:8500; is it running?":                "no instance is registered in Consul at …; is it running?",
		"the instance at 10.0.0.7:7443 is orders-1, not orders-2.":                            "the instance at … is orders-1, not orders-2.",
		"none of its 2 addresses [10.0.0.1:7443 [fd00::1]:7443] can be used: timeout":         "none of its 2 addresses [… …] can be used: timeout",
		`Get "http://consul.example:8500/v1/agent": dial tcp [::1]:8500: connection refused`:  `Get "http://…/v1/agent": dial tcp …: connection refused`,
		"left out, such as a at orders.example:7443: it is a loopback address":                "left out, such as a at …: it is a loopback address",
		"fe80::1 is outside Config.Routing.AllowNets":                                         "… is outside Config.Routing.AllowNets",
		"topology.yaml:6:28: routes[0].match.method of orders/get is 10 ms late, at 12:30:45": "topology.yaml:6:28: routes[0].match.method of orders/get is 10 ms late, at 12:30:45",
		"": "",
	} {
		if got := (&Error{Message: text}).SpanDescription(); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	if got := (*Error)(nil).SpanDescription(); got != textOfNil {
		t.Errorf("nil is shown as %q", got)
	}
}
