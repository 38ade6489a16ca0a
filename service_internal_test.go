package link

import "testing"

// TestAServiceIsNotForgottenWhenAWaitEnds: a call that waits for instances looks at them now and then,
// and in that moment nothing else keeps the service.
func TestAServiceIsNotForgottenWhenAWaitEnds(t *testing.T) {
	s := &service{node: new(Node)}
	unpin := s.pin()
	s.recent.Store(false) // as follow does
	if unpin(); !s.recent.Load() {
		t.Error("a service counts as unused in the moment when a wait for it ends")
	}
}
