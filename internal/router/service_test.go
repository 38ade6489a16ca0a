package router

import "testing"

// TestAServiceIsNotForgottenWhenAWaitEnds checks that a service counts as recently used when a wait for it
// ends: a waiting call checks the instances now and then, and at that moment nothing else keeps the service.
func TestAServiceIsNotForgottenWhenAWaitEnds(t *testing.T) {
	s := &Service{router: new(Router)}
	unpin := s.pin()
	// follow does the same now and then.
	s.recent.Store(false)
	if unpin(); !s.recent.Load() {
		t.Error("a service counts as unused in the moment when a wait for it ends")
	}
}
