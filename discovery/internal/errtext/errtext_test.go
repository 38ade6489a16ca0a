package errtext_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/linkmesh/link/discovery/internal/errtext"
)

func TestAnErrorHasItsTextAndMatches(t *testing.T) {
	is := errors.New("of another package")
	err := fmt.Errorf("%w: Poll", errtext.New("mine: bad", is))
	if err.Error() != "mine: bad: Poll" || !errors.Is(err, is) {
		t.Errorf("%q matches: %t", err, errors.Is(err, is))
	}
}
