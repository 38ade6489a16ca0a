package consul

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestABodyEndsAtItsBound(t *testing.T) {
	for _, c := range []struct {
		text string
		left int64
		cut  bool
		want string
		err  error
	}{
		{"abc", 4, false, "abc", nil},
		{"abc", 3, false, "abc", nil},
		{"abcd", 3, false, "abc", errTooLarge},
		{"abcd", 3, true, "abc", nil},
		{"", 0, false, "", nil},
	} {
		b := &boundedBody{ReadCloser: io.NopCloser(iotest.OneByteReader(strings.NewReader(c.text))), left: c.left, cut: c.cut}
		got, err := io.ReadAll(b)
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestForeignTextIsFitForALogLine(t *testing.T) {
	got := printable("  <html>\x1b[31m\u202e\"x\"" + strings.Repeat("y", 500) + "\nsecond line")
	if len(got) > maxQuoted+50 || strings.ContainsAny(got, "\n\x1b\u202e") || !strings.HasPrefix(got, `<html>\x1b[31m\u202e"x"y`) {
		t.Errorf("got %q", got)
	}
}
