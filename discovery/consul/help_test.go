package consul

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/linkmesh/link/discovery"
)

// registry returns a registry on the agent, and its log. The registry is closed when the test ends.
func (a *agent) registry(t *testing.T, cfg Config) (*Registry, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.dial = a.ln.dial
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:8500"
	}
	if cfg.StateDir == "" {
		cfg.StateDir = stateOff
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, log
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// lines counts the lines that contain text.
func (l *logBuffer) lines(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func instance(id string) discovery.Instance {
	return discovery.Instance{ID: id, Service: "orders", Addr: "192.0.2.1:7443"}
}

var orders = discovery.Query{Service: "orders"}.Normalized()

func watchOrders(t *testing.T, r *Registry) <-chan discovery.Snapshot {
	t.Helper()
	ch, err := r.Watch(t.Context(), orders)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// show formats a snapshot: its IDs, draining states and unusual weights, and whether it is stale.
func show(s discovery.Snapshot) string {
	var b strings.Builder
	for i, in := range s.Instances {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(in.ID)
		if in.Status == discovery.Draining {
			b.WriteString("(draining)")
		}
		if in.Weight != discovery.DefaultWeight {
			fmt.Fprintf(&b, "(%d)", in.Weight)
		}
	}
	if s.Stale {
		b.WriteString(" stale")
	}
	return strings.TrimSpace(b.String())
}

// newest returns the snapshot that is waiting, and fails the test if there is none.
func newest(t *testing.T, ch <-chan discovery.Snapshot) discovery.Snapshot {
	t.Helper()
	select {
	case s, ok := <-ch:
		if !ok {
			t.Fatal("the watch has ended")
		}
		return s
	default:
		t.Fatal("no snapshot")
		return discovery.Snapshot{}
	}
}
