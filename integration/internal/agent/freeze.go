//go:build unix

package agent

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"
)

// silence is how long a request must stay unanswered for the agent to count as frozen.
const silence = 200 * time.Millisecond

// Stop freezes the agent: it keeps its sockets open but answers no requests.
func (a *Agent) Stop() {
	a.tb.Helper()
	// The signal reaches the threads of the agent some time after the call.
	a.signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(within); a.answers(); {
		if time.Now().After(deadline) {
			a.tb.Fatalf("the Consul agent still answers %v after SIGSTOP", within)
		}
	}
}

func (a *Agent) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	_, err := a.client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
	return !errors.Is(err, context.DeadlineExceeded)
}

// Cont resumes a frozen agent.
func (a *Agent) Cont() {
	a.tb.Helper()
	a.signal(syscall.SIGCONT)
}

func (a *Agent) signal(s syscall.Signal) {
	a.tb.Helper()
	if a.process == nil {
		a.tb.Fatal("the Consul agent does not run")
	}
	if err := a.process.os.Signal(s); err != nil {
		a.tb.Fatal(err)
	}
}
