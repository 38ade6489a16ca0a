package pubsub //nolint:testpackage // it looks at what the options have set

import (
	"testing"
	"time"
)

// TestBackpressureGoesWithTheClassInAnyOrder checks that a class that was given stays, wherever it stands among the
// options, and that without one a subscription with backpressure is Reliable.
func TestBackpressureGoesWithTheClassInAnyOrder(t *testing.T) {
	wait, limit := Backpressure(time.Second), Buffer(10, 0, 0)
	for name, test := range map[string]struct {
		options []SubscribeOption
		want    Class
	}{
		"nothing":                     {nil, BestEffort},
		"backpressure":                {[]SubscribeOption{wait}, Reliable},
		"a class before":              {[]SubscribeOption{BestEffort, wait}, BestEffort},
		"a class behind":              {[]SubscribeOption{wait, BestEffort}, BestEffort},
		"another class before":        {[]SubscribeOption{AtLeastOnce, wait}, AtLeastOnce},
		"another class behind":        {[]SubscribeOption{wait, AtLeastOnce}, AtLeastOnce},
		"a limit of messages before":  {[]SubscribeOption{limit, wait}, BestEffort},
		"a limit of messages behind":  {[]SubscribeOption{wait, limit}, BestEffort},
		"a class without any waiting": {[]SubscribeOption{Latest}, Latest},
	} {
		var s settings
		for _, option := range test.options {
			option.applySubscribe(&s)
		}
		s.settle()
		if got := Class(s.ask.Class); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
