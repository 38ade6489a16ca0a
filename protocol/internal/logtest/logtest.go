// Package logtest has a log for tests, which can be read while it is written.
package logtest

import (
	"log/slog"
	"strings"
	"sync"
)

// Log keeps what is logged. The zero value is an empty log. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex // guards the field below
	text strings.Builder
}

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String returns all lines.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Has reports whether a line has all the words.
func (l *Log) Has(words ...string) bool { return l.Count(words...) > 0 }

// Count returns how many lines have all the words.
func (l *Log) Count(words ...string) (n int) {
next:
	for line := range strings.Lines(l.String()) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue next
			}
		}
		n++
	}
	return n
}

// Logger returns a logger that writes text to l.
func (l *Log) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
