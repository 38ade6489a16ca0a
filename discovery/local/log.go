//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"log/slog"
	"time"

	"golang.org/x/time/rate"
)

// logEvery and logBurst limit the rate of log lines about files: a process that can write files must
// not be able to flood the log.
const (
	logEvery = time.Second
	logBurst = 20
)

// limitedLog drops lines beyond a rate and logs how many it dropped. It belongs to one goroutine.
type limitedLog struct {
	logger  *slog.Logger
	limit   *rate.Limiter
	dropped int
}

func newLimitedLog(logger *slog.Logger) *limitedLog {
	return &limitedLog{logger: logger, limit: rate.NewLimiter(rate.Every(logEvery), logBurst)}
}

func (l *limitedLog) warn(msg string, args ...any) {
	if !l.limit.Allow() {
		l.dropped++
		return
	}
	if l.dropped > 0 {
		args = append(args, "lines_dropped", l.dropped)
		l.dropped = 0
	}
	l.logger.Warn(msg, args...)
}
