package reqrep_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type query struct{ Text string }

type answer struct{ Text string }

// unsafeMethod and readOnlyMethod are the methods that the tests call, named after their levels.
var (
	unsafeMethod   = reqrep.NewMethod[query, answer]("orders", "change", link.Unsafe)
	readOnlyMethod = reqrep.NewMethod[query, answer]("orders", "get", link.ReadOnly)
)

type handlerFunc = func(context.Context, query) (answer, error)

// serve starts a node of the service orders that serves both methods with f.
func serve(mesh *linktest.Mesh, cfg link.Config, f handlerFunc, opts ...link.HandleOption) *link.Node {
	cfg.Service = "orders"
	node := mesh.Node(cfg)
	reqrep.Handle(node, unsafeMethod, f, opts...)
	reqrep.Handle(node, readOnlyMethod, f, opts...)
	mesh.Start(node)
	return node
}

func echo(_ context.Context, q query) (answer, error) { return answer(q), nil }

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
