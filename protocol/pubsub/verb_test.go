package pubsub

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/internal/verb"
)

func TestAnErrorSaysWhenAMessageComesAgain(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		err  error
		want failure
	}{
		"no error has no cause":             {nil, failure{delay: -1}},
		"any error leaves it to the class":  {broken, failure{delay: -1, cause: "broken"}},
		"a retry has a delay":               {Retry(time.Second, broken), failure{delay: time.Second, cause: "broken"}},
		"a retry may be at once":            {Retry(-time.Second, broken), failure{cause: "broken"}},
		"a retry waits for a day at most":   {Retry(25*time.Hour, broken), failure{delay: 24 * time.Hour, cause: "broken"}},
		"a retry may have no cause":         {Retry(time.Second, nil), failure{delay: time.Second, cause: "no cause was given"}},
		"a verb may be wrapped":             {fmt.Errorf("handling: %w", Retry(time.Second, broken)), failure{delay: time.Second, cause: "broken"}},
		"a release is no failed attempt":    {Release("shutting down"), failure{release: true, cause: "shutting down"}},
		"a rejection is an error like many": {verb.NewReject(broken), failure{delay: -1, cause: "broken"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := failureOf(tt.err); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
