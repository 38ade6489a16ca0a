package security_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/linkmesh/link/security"
)

// TestAWrongIdentitySaysWhereToLook checks that the advice differs for another namespace and for another service.
func TestAWrongIdentitySaysWhereToLook(t *testing.T) {
	id := func(namespace, service string) security.ID {
		t.Helper()
		id, err := security.NewID("mesh.test", namespace, service)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for _, c := range []struct {
		got  security.ID
		want string
	}{
		{id("blue", "orders"), "in another namespace: do both nodes use the same LINK_NAMESPACE?"},
		{id("default", "billing"), "another service has the address: check what is registered there"},
	} {
		err := &security.VerifyError{Reason: security.ReasonWrongIdentity, Expected: id("default", "orders"), Got: c.got}
		if !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%v, want it to end with %q", err, c.want)
		}
	}
}

// TestAReasonIsAnError checks that the error for a refused peer matches its reason, no other reason, and its cause.
func TestAReasonIsAnError(t *testing.T) {
	cause := errors.New("cause")
	for reason := security.ReasonProtocol; reason <= security.ReasonWrongIdentity; reason++ {
		err := error(&security.VerifyError{Reason: reason, Err: cause})
		if !errors.Is(err, cause) {
			t.Errorf("%v does not match its cause", reason)
		}
		for other := security.ReasonProtocol; other <= security.ReasonWrongIdentity; other++ {
			if errors.Is(err, other) != (other == reason) {
				t.Errorf("%v matches %v: %t", reason, other, other != reason)
			}
		}
		if strings.HasPrefix(reason.String(), "Reason(") || reason.Error() != reason.String() {
			t.Errorf("reason %d has no name", reason)
		}
	}
}

func TestErrorTextFromThePeerIsBounded(t *testing.T) {
	err := &security.VerifyError{Reason: security.ReasonUntrusted, Err: errors.New(strings.Repeat("é", 1<<16))}
	if n := len(err.Error()); n > 1024 {
		t.Errorf("error of %d bytes", n)
	}
}
