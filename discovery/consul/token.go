package consul

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// tokenEvery is the minimum interval between two reads of a token file.
	tokenEvery = time.Second

	// maxToken is the maximum size of a token file in bytes. A JWT fits into it.
	maxToken = 16 << 10
)

// secret is a token that is never printed.
type secret string

const redacted = "[redacted]"

func (s secret) String() string {
	if s == "" {
		return `""`
	}
	return redacted
}

// Format prints String for every verb.
func (s secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

func (s secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps a secret out of JSON as well.
func (s secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// tokenSource provides the token of requests. It is safe for concurrent use.
type tokenSource struct {
	// file is the token file, or "" if the token never changes.
	file string

	// origin names the source of the token for messages.
	origin string
	log    *slog.Logger

	mu      sync.Mutex // guards the fields below
	current secret
	read    time.Time

	// failed means that the last read failed and that this was logged.
	failed bool
}

// newTokenSource follows the precedence of the api package: file before value, config before environment.
func newTokenSource(cfg Config) (*tokenSource, error) {
	s := &tokenSource{file: cfg.TokenFile, origin: "Config.Token", current: secret(cfg.Token.Reveal()), log: cfg.Logger}
	field := "TokenFile"
	if s.file == "" && cfg.Token.IsZero() {
		field = api.HTTPTokenFileEnvName
		s.file = os.Getenv(field)
		s.current, s.origin = secret(os.Getenv(api.HTTPTokenEnvName)), api.HTTPTokenEnvName
	}
	if s.file == "" {
		return s, nil
	}
	s.origin = "the file " + s.file
	token, err := readToken(s.file)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errConfig, field, err)
	}
	s.current, s.read = token, time.Now()
	return s, nil
}

// aclNotFound is Consul's message about a token that does not exist (acl/errors.go).
const aclNotFound = "ACL not found"

// refusal returns the reason why Consul has denied a request with this token. words is the message of
// its answer.
func (s *tokenSource) refusal(token secret, words string) string {
	reason := "the ACL token (from " + s.origin + ") does not allow it"
	switch {
	case token == "":
		reason = "Consul wants an ACL token, and none is set"
	case strings.Contains(words, aclNotFound):
		reason = "Consul does not know this token (from " + s.origin + ")"
	}
	if words != "" {
		reason += " (" + words + ")"
	}
	return reason
}

func readToken(path string) (secret, error) {
	f, err := os.Open(path) //nolint:gosec // the file that the user has named
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if len(data) > maxToken || strings.ContainsAny(token, "\r\n\x00") {
		return "", fmt.Errorf("%s does not hold a token: want one line of at most %d bytes", path, maxToken)
	}
	if token == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret(token), nil
}

// get returns the current token.
func (s *tokenSource) get() secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != "" && time.Since(s.read) >= tokenEvery {
		s.readLocked()
	}
	return s.current
}

// renewed reports whether there is another token than the refused one. It reads the file if needed.
func (s *tokenSource) renewed(refused secret) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != "" && s.current == refused {
		s.readLocked()
	}
	return s.current != refused
}

// readLocked reads the token file. If that fails, the current token stays in use: the file may just
// be in the process of being replaced.
func (s *tokenSource) readLocked() {
	s.read = time.Now()
	token, err := readToken(s.file)
	if err != nil {
		if !s.failed {
			s.failed = true
			s.log.Warn("consul registry: token file cannot be read; the last token stays in use", "path", s.file, "reason", err)
		}
		return
	}
	if s.failed {
		s.failed = false
		s.log.Info("consul registry: token file can be read again", "path", s.file)
	}
	s.current = token
}
