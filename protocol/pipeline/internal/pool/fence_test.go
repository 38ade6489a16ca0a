package pool

import (
	"errors"
	"math"
	"testing"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// TestWhatIsLeftOfAKilledProducerDisplacesNobody checks that a late HELLO of a killed process does
// not displace its successor, which has the same queue and higher fences.
func TestWhatIsLeftOfAKilledProducerDisplacesNobody(t *testing.T) {
	const before, after = 100, 200
	p := New(Options{})
	join := func(fence uint64) (*Source, error) {
		s, _, err := p.Join(Hello{From: share.Key{Name: "shop"}, Queue: "q", Fence: fence}, 1)
		return s, err
	}
	s, err := join(after)
	if err != nil {
		t.Fatal(err)
	}
	ready := s.Ready()
	if _, err := join(before); !errors.Is(err, ErrFenced) {
		t.Errorf("the earlier run came after the later one: %v", err)
	}
	if s.Ready() != ready || !s.connected || s.fence != after {
		t.Errorf("the later run was displaced: connected %v, fence %d", s.connected, s.fence)
	}
	if _, err := join(after); err != nil {
		t.Errorf("the same run again: %v", err)
	}
}

// TestWhoKnowsTheNameOfAQueueDoesNotShutItsProducerOut checks that, where names are not proven, a peer
// that claims a queue with the highest fence is not taken for its producer. Handlers see the names of
// queues.
func TestWhoKnowsTheNameOfAQueueDoesNotShutItsProducerOut(t *testing.T) { // SEC-395
	honest := share.Key{Name: "shop", Place: "10.0.0.2/32"}
	mallory := share.Key{Name: "shop", Place: "10.0.0.1/32"}
	claim := Hello{From: mallory, Queue: "q", Fence: math.MaxUint64, First: 1, Last: math.MaxUint64}
	for name, claimsFirst := range map[string]bool{"before": true, "after": false} {
		t.Run(name, func(t *testing.T) {
			p := New(Options{})
			steal := func() {
				s, answer, err := p.Join(claim, 2)
				if err != nil || len(answer.Running) > 0 {
					t.Errorf("the claim: running %v, %v", answer.Running, err)
				}
				if n := len(p.Take(s, nil, 2).Outcomes); n > 0 {
					t.Errorf("%d bytes of the outcomes of another were handed out", n)
				}
			}
			if claimsFirst {
				steal()
			}
			s, _, err := p.Join(Hello{From: honest, Queue: "q", Fence: 100}, 3)
			if err != nil {
				t.Fatal(err)
			}
			s.wish, s.window = 8, 8
			if err := p.Receive(s, frameOf(1, 2, 1, false), 3, 3); err != nil {
				t.Fatal(err)
			}
			done := p.Begin(nil, 3)[0]
			p.Begin(nil, 3)
			p.Done(done, frame.Outcome{Verb: frame.Ack}, 3)
			ready := s.Ready()
			steal()
			if s.Ready() != ready || !s.connected || s.held.Len() != 1 {
				t.Errorf("the producer was displaced: connected %v, %d tasks are held", s.connected, s.held.Len())
			}
			if again, answer, err := p.Join(Hello{From: honest, Queue: "q", Fence: 100, Held: []uint64{2}}, 4); err != nil || again != s || len(answer.Unknown) != 0 {
				t.Errorf("the producer comes back: %+v, %v", answer, err)
			}
		})
	}
}
