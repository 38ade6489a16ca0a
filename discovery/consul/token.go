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
	tokenEvery = time.Second // between two reads of a token file
	maxToken   = 16 << 10    // bytes of a token file; a JWT fits
)

// secret is a token, which does not print.
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

// tokenSource is where requests get their token. It is safe for concurrent use.
type tokenSource struct {
	file   string // "" if the token never changes
	origin string // where the token comes from, for messages
	log    *slog.Logger

	mu      sync.Mutex // guards the fields below
	current secret
	read    time.Time
	failed  bool // the last read did, and that was said
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
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalidConfig, field, err)
	}
	s.current, s.read = token, time.Now()
	return s, nil
}

// aclNotFound is what Consul says of a token that does not exist (acl/errors.go).
const aclNotFound = "ACL not found"

// refusal says why Consul has refused a request with this token, given its words.
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

// get returns the token to use now.
func (s *tokenSource) get() secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != "" && time.Since(s.read) >= tokenEvery {
		s.readLocked()
	}
	return s.current
}

// renewed looks for another token than the one that was refused.
func (s *tokenSource) renewed(refused secret) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != "" && s.current == refused {
		s.readLocked()
	}
	return s.current != refused
}

// readLocked keeps the token in use when the file cannot be read: it may be in the course of
// being replaced.
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
