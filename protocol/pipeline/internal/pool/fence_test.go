package pool

import (
	"errors"
	"testing"

	"github.com/linkmesh/link/internal/share"
)

// TestWhatIsLeftOfAKilledProducerDisplacesNobody: its HELLO may be read when the process
// after it is here, which has the same queue and higher fences.
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
	if _, err := join(after); err != nil { // it connects again
		t.Errorf("the same run again: %v", err)
	}
}
