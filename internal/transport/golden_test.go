package transport

import (
	"bytes"
	"context"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// golden returns the bytes of one section of a transcript in the test data of package wire.
func golden(t *testing.T, file, section string) []byte {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("..", "wire", "testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		if f.Name != section {
			continue
		}
		var out []byte
		for line := range bytes.Lines(f.Data) {
			text := strings.ReplaceAll(strings.TrimSpace(string(line)), " ", "")
			if strings.HasPrefix(text, "#") {
				continue
			}
			b, err := hex.DecodeString(text)
			if err != nil {
				t.Fatalf("%s, %s: %v", file, section, err)
			}
			out = append(out, b...)
		}
		return out
	}
	t.Fatalf("%s has no section %q", file, section)
	return nil
}

func withTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}
