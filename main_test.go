package link_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/internal/child"
	"github.com/linkmesh/link/internal/shell"
)

// TestMain checks for leaked goroutines. The test binary is also the server
// process of some tests.
func TestMain(m *testing.M) {
	if os.Getenv(tracedChild) != "" {
		if err := serveTraced(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if child.Role() == serverRole {
		if err := serveAgain(os.Getenv(addrVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	shell.Forget()
	goleak.VerifyTestMain(m)
}

// sleep lets virtual time pass.
func sleep(d time.Duration) { <-time.After(d) }

// logBuffer collects log output. It is safe for concurrent use.
type logBuffer struct {
	mu sync.Mutex // guards the field below
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
