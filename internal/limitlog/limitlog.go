// Package limitlog logs what others can cause, at a limited rate: nobody who can write to a registry or a folder must be
// able to flood a log.
package limitlog

import (
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Every and Burst are the limit of one [Logger]: Burst lines at once, and then one in the time Every.
const (
	Every = time.Second
	Burst = 20
)

// Logger drops lines beyond the limit. The next line that it logs says how many it dropped, as the attribute
// lines_dropped. It is safe for concurrent use.
type Logger struct {
	to *slog.Logger

	mu      sync.Mutex // guards the fields below
	limit   *rate.Limiter
	dropped int
}

// New returns a logger that writes to another one.
func New(to *slog.Logger) *Logger {
	return &Logger{to: to, limit: rate.NewLimiter(rate.Every(Every), Burst)}
}

// Warn logs a failure, as [slog.Logger.Warn] does.
func (l *Logger) Warn(msg string, args ...any) {
	if args, ok := l.allow(args); ok {
		l.to.Warn(msg, args...)
	}
}

// Info logs a recovery, as [slog.Logger.Info] does.
func (l *Logger) Info(msg string, args ...any) {
	if args, ok := l.allow(args); ok {
		l.to.Info(msg, args...)
	}
}

func (l *Logger) allow(args []any) ([]any, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.limit.Allow() {
		l.dropped++
		return nil, false
	}
	if l.dropped > 0 {
		args = append(args, "lines_dropped", l.dropped)
		l.dropped = 0
	}
	return args, true
}
