package security

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// errHidden is returned when gob encodes or decodes a secret.
var errHidden = errors.New("security: a secret is not encoded")

// hiddenText is printed in place of a secret.
const hiddenText = "[hidden]"

// Hidden is a text that is not printed, such as a token or a password. All verbs of fmt, slog, JSON, XML and other text
// encodings write "[hidden]" instead, or nothing if it is empty; gob fails. A struct with a Hidden in a
// field, exported or not, does not show the text either. The zero value is the empty text.
//
// It keeps secrets out of logs and dumps, not out of memory.
type Hidden struct {
	// text is a pointer because fmt prints unexported fields without calling their methods.
	text *string
}

// Hide returns text as a Hidden.
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

// String returns "[hidden]", or "" if the text is empty.
func (h Hidden) String() string {
	if h.text == nil {
		return ""
	}
	return hiddenText
}

// Format prints String for every verb, in quotes for %#v and %q.
func (h Hidden) Format(f fmt.State, verb rune) { formatHidden(f, verb, h.String()) }

// LogValue returns String.
func (h Hidden) LogValue() slog.Value { return slog.StringValue(h.String()) }

// MarshalText returns String, for JSON, XML and other encodings.
func (h Hidden) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText sets h to text, so that a secret can be read from a configuration file.
func (h *Hidden) UnmarshalText(text []byte) error {
	*h = Hide(string(text))
	return nil
}

// GobEncode always fails, because another program would read what gob writes.
func (h Hidden) GobEncode() ([]byte, error) { return nil, errHidden }

// GobDecode always fails.
func (h *Hidden) GobDecode([]byte) error { return errHidden }

func formatHidden(f fmt.State, verb rune, text string) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		text = fmt.Sprintf("%q", text)
	}
	// Writing to a fmt.State does not fail.
	_, _ = io.WriteString(f, text)
}
