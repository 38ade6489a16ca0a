package errtext_test

import (
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/policy/errtext"
)

func TestFieldsAreNamedSafely(t *testing.T) {
	for _, c := range []struct{ path, key, want string }{
		{"", "services", "services"},
		{"services", "orders-1.eu_2", "services.orders-1.eu_2"},
		{"services", "", `services[""]`},
		{"services", "a b", `services["a b"]`},
		{"services", "\x1b", `services["\x1b"]`},
		{"services", strings.Repeat("x", errtext.MaxShown), "services." + strings.Repeat("x", errtext.MaxShown)},
		{"services", strings.Repeat("x", errtext.MaxShown+1), `services["` + strings.Repeat("x", errtext.MaxShown) + `…"]`},
	} {
		if got := errtext.Path(c.path, c.key); got != c.want {
			t.Errorf("Path(%q, %q) = %s, want %s", c.path, c.key, got, c.want)
		}
	}
}

func TestListsReadLikeSentences(t *testing.T) {
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := errtext.List(words, "or"); got != want {
			t.Errorf("List(%q) = %q, want %q", words, got, want)
		}
	}
}
