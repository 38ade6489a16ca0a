package codec_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/linkmesh/link/codec"
)

// TestLimitsOfMessagesInDocsMatchTheCode checks that docs/wire.md and the comments of Limits tell the defaults.
func TestLimitsOfMessagesInDocsMatchTheCode(t *testing.T) {
	for file, want := range map[string]string{
		"../docs/wire.md": fmt.Sprintf("more than %d levels of arrays and maps (the outermost is the first), and what would become more memory than it allows: the Go implementation allows %d bytes for each byte\n  of the message, and %d MiB in any case",
			codec.DefaultMaxNesting, codec.DefaultMaxExpansion, codec.FreeMemory>>20),
		"limits.go": fmt.Sprintf("Zero means %d.\n	MaxNesting int\n\n", codec.DefaultMaxNesting),
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not say: %s", file, want)
		}
	}
}
