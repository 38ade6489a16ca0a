package security

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

const (
	// minSecretBytes is the minimum length of a decoded cluster secret.
	minSecretBytes = 32
	// maxSecretBytes is the maximum length of the text of a cluster secret, old and new together.
	maxSecretBytes = 4096

	// maxSecrets is the number of secrets during a rotation: the new one and the old one.
	maxSecrets = 2
	// minDistinctBytes refuses placeholders such as 64 zeros. 32 random bytes have 30 distinct values on average, and
	// fewer than 8 once in more than 10^40 secrets.
	minDistinctBytes = 8

	// secretMaker is the part of an error that says how to make a good secret.
	secretMaker = `the output of "openssl rand -base64 32" (or of security.NewSecret)`
)

// errBadSecret is wrapped by the errors about a cluster secret. Their text never shows the secret.
var errBadSecret = fmt.Errorf("%w cluster secret", ErrInvalid)

// NewSecret returns a fresh cluster secret: 32 bytes from crypto/rand in base64url, without padding.
func NewSecret() string {
	secret := make([]byte, minSecretBytes)
	// rand.Read never returns an error: crypto/rand ends the process instead.
	_, _ = rand.Read(secret)
	return base64.RawURLEncoding.EncodeToString(secret)
}

// parseSecrets reads "secret" or "new,old".
func parseSecrets(text string) ([][]byte, error) {
	const fix = "use " + secretMaker
	if len(text) > maxSecretBytes {
		return nil, fmt.Errorf("%w: %d bytes of text, at most %d allowed: %s", errBadSecret, len(text), maxSecretBytes, fix)
	}
	parts := strings.Split(text, ",")
	if len(parts) > maxSecrets {
		return nil, fmt.Errorf("%w: %d secrets, at most %d allowed (new,old)", errBadSecret, len(parts), maxSecrets)
	}
	secrets := make([][]byte, 0, len(parts))
	for i, part := range parts {
		secret, err := parseSecret(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%w: secret %d of %d %w: %s", errBadSecret, i+1, len(parts), err, fix)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == maxSecrets && string(secrets[0]) == string(secrets[1]) {
		return nil, fmt.Errorf("%w: the new and the old secret are the same: remove one", errBadSecret)
	}
	return secrets, nil
}

// parseSecret reads one secret. Text that decodes as hexadecimal is hexadecimal; any other text is base64 in either
// alphabet, with or without padding. There is no other guessing, because every node must decode to the same bytes.
func parseSecret(text string) ([]byte, error) {
	if text == "" {
		return nil, errors.New("is empty")
	}
	secret, err := hex.DecodeString(text)
	if err != nil {
		// The base64 decoder would skip line breaks.
		if strings.ContainsAny(text, "\r\n") {
			return nil, errors.New("has a line break inside")
		}
		text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
		secret, err = base64.RawStdEncoding.Strict().DecodeString(text)
	}
	if err != nil {
		// The decoder's error is dropped because it could show a part of the secret.
		return nil, errors.New("is neither base64 nor hexadecimal")
	}
	if len(secret) < minSecretBytes {
		return nil, fmt.Errorf("has %d bytes, at least %d are needed", len(secret), minSecretBytes)
	}
	distinct := make(map[byte]struct{}, len(secret))
	for _, b := range secret {
		distinct[b] = struct{}{}
	}
	if len(distinct) < minDistinctBytes {
		return nil, errors.New("is not random: it repeats a few bytes")
	}
	return secret, nil
}
