package security

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// ErrHidden is the error of encoding a secret for another program, which gob would do.
var ErrHidden = errors.New("security: a secret is not encoded")

// hiddenText is what shows of a secret.
const hiddenText = "[hidden]"

// Hidden is a text that does not show: a token, a password. Fmt with every verb, JSON, XML and other encodings by text,
// and slog show "[hidden]" in its place, or nothing if it is empty; gob fails with [ErrHidden]. It is so in any struct it
// is a field of, exported or not. The zero value is the empty text.
//
// It keeps secrets out of logs and dumps, not out of memory.
type Hidden struct {
	text *string // a pointer, because fmt looks into fields that are not exported without asking
}

// Hide returns text as one that does not show.
func Hide(text string) Hidden {
	if text == "" {
		return Hidden{}
	}
	return Hidden{&text}
}

// Reveal returns the text.
func (h Hidden) Reveal() string {
	if h.text == nil {
		return ""
	}
	return *h.text
}

// IsZero reports whether the text is empty.
func (h Hidden) IsZero() bool { return h.text == nil }

// String is "[hidden]", or empty.
func (h Hidden) String() string {
	if h.text == nil {
		return ""
	}
	return hiddenText
}

// Format prints String for every verb; for %#v and %q in quotes.
func (h Hidden) Format(f fmt.State, verb rune) { formatHidden(f, verb, h.String()) }

// LogValue is String.
func (h Hidden) LogValue() slog.Value { return slog.StringValue(h.String()) }

// MarshalText is String, for JSON, XML and others.
func (h Hidden) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText hides text, so that a configuration can be read from a file.
func (h *Hidden) UnmarshalText(text []byte) error {
	*h = Hide(string(text))
	return nil
}

// GobEncode fails: what gob writes is for another program to use.
func (h Hidden) GobEncode() ([]byte, error) { return nil, ErrHidden }

// GobDecode fails, as GobEncode does.
func (h *Hidden) GobDecode([]byte) error { return ErrHidden }

func formatHidden(f fmt.State, verb rune, text string) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		text = fmt.Sprintf("%q", text)
	}
	_, _ = io.WriteString(f, text) // fmt's own writer does not fail
}
