package consul

import (
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// logEvery and logBurst limit the rate of log lines about services: one fault of Consul affects all
// of them, and anyone who can register must not be able to flood the log.
const (
	logEvery = time.Second
	logBurst = 20
)

// limitedLog drops lines beyond a rate and logs how many it dropped. It is safe for concurrent use.
type limitedLog struct {
	logger *slog.Logger

	mu      sync.Mutex // guards the fields below
	limit   *rate.Limiter
	dropped int
}

func newLimitedLog(logger *slog.Logger) *limitedLog {
	return &limitedLog{logger: logger, limit: rate.NewLimiter(rate.Every(logEvery), logBurst)}
}

// warn logs a failure.
func (l *limitedLog) warn(msg string, args ...any) {
	if args, ok := l.allow(args); ok {
		l.logger.Warn(msg, args...)
	}
}

// info logs a recovery.
func (l *limitedLog) info(msg string, args ...any) {
	if args, ok := l.allow(args); ok {
		l.logger.Info(msg, args...)
	}
}

func (l *limitedLog) allow(args []any) ([]any, bool) {
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
