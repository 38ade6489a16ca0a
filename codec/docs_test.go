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
	for want, file := range map[string]string{
		fmt.Sprintf("more than %d levels of arrays and maps (the outermost is the first), and what would become more memory than it allows: the Go implementation allows %d bytes for each byte\n  of the message, and %d MiB in any case",
			codec.DefaultMaxNesting, codec.DefaultMaxExpansion, codec.FreeMemory>>20): "../docs/wire.md",
		fmt.Sprintf("Zero means %d.\n	MaxNesting int\n\n", codec.DefaultMaxNesting):                               "limits.go",
		fmt.Sprintf("Zero means %d. %d MiB are always allowed,", codec.DefaultMaxExpansion, codec.FreeMemory>>20): "limits.go",
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
