package wire_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/linkmesh/link/internal/wire"
)

const docs = "../../docs/wire.md"

func readDocs(tb testing.TB) string {
	tb.Helper()
	b, err := os.ReadFile(docs)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// TestExamplesInDocsAreGolden checks that each example in docs/wire.md is the
// section of the transcript that the comment above it names.
func TestExamplesInDocsAreGolden(t *testing.T) {
	example := regexp.MustCompile("(?s)(<!-- golden: (\\S+) ([^>]*) -->\n```text\n)(.*?)(```\n)")
	text := readDocs(t)
	found := 0
	updated := example.ReplaceAllStringFunc(text, func(match string) string {
		found++
		m := example.FindStringSubmatch(match)
		want := goldenText(t, m[2], m[3])
		if m[4] != want && !*update {
			t.Errorf("%s shows another %s, %s than the transcript; run go test ./internal/wire -update (-transcript +docs):\n%s", docs, m[2], m[3], diff(want, m[4]))
		}
		return m[1] + want + m[5]
	})
	if blocks := strings.Count(text, "<!-- golden:"); found != blocks || found == 0 {
		t.Errorf("%d of %d examples have their block", found, blocks)
	}
	if *update {
		if err := os.WriteFile(docs, []byte(updated), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func goldenText(tb testing.TB, file, name string) string {
	tb.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", file))
	if err != nil {
		tb.Fatal(err)
	}
	// With -update, the file may not have been rewritten yet.
	if *update {
		for _, tr := range transcripts() {
			if tr.scene+".txtar" == file {
				archive = tr.archive(tb)
			}
		}
	}
	for _, f := range archive.Files {
		if f.Name == name {
			return strings.TrimRight(string(f.Data), "\n") + "\n"
		}
	}
	tb.Fatalf("%s has no section %q", file, name)
	return ""
}

// TestTablesInDocsMatchTheCode checks that the numbers in docs/wire.md are equal to
// the constants.
func TestTablesInDocsMatchTheCode(t *testing.T) {
	text := readDocs(t)
	row := func(cells ...any) {
		t.Helper()
		var b strings.Builder
		for _, cell := range cells {
			fmt.Fprintf(&b, "| %v ", cell)
		}
		if b.WriteString("|"); !strings.Contains(text, "\n"+b.String()) {
			t.Errorf("%s has no row %s", docs, b.String())
		}
	}
	number := func(v uint64) string { return fmt.Sprintf("0x%02x", v) }

	for code := range wire.CodeIdle + 1 {
		row(number(uint64(code)), code)
	}
	for name, typ := range map[string]wire.StreamType{
		"CONTROL": wire.StreamControl, "ONEWAY": wire.StreamOneWay, "LANE": wire.StreamLane,
		"CALL": wire.StreamCall, "CALLS": wire.StreamCalls,
	} {
		row(number(uint64(typ)), name)
	}
	kinds := 0
	for kind := range wire.KindPattern {
		if name := kindName(kind); name != "UNKNOWN" {
			kinds++
			row(number(uint64(kind)), name)
		}
	}
	if kinds != 14 {
		t.Errorf("%d kinds have names, want 14", kinds)
	}
	row(number(uint64(wire.KindPattern))+"–"+number(uint64(wire.KindPatternMax)), "PATTERN")
	for name, flag := range map[string]wire.Flags{
		"compressed": wire.FlagCompressed, "more": wire.FlagMore, "critical": wire.FlagCritical,
		"credited": wire.FlagCredited, "last": wire.FlagLast, "odd": wire.FlagOdd,
	} {
		row(number(uint64(flag)), name)
	}
	for name, limit := range map[string]int{
		"bytes of a HEADERS or STATUS body":                            wire.MaxHeader,
		"bytes of a frame body on CONTROL":                             wire.MaxControl,
		"entries of metadata":                                          wire.MaxPairs,
		"entries of a trace context":                                   wire.MaxTracePairs,
		"bytes of metadata, bytes of a trace context":                  wire.MaxPairBytes,
		"bytes of a name: route, instance, error ID, type of a detail": wire.MaxName,
		"bytes of a text for people":                                   wire.MaxText,
		"bytes of an idempotency key":                                  wire.MaxKeyBytes,
		"details of a STATUS":                                          wire.MaxDetails,
		"tags of a SETUP":                                              wire.MaxTags,
		"bytes of a tag":                                               wire.MaxTag,
		"codecs of a SETUP":                                            wire.MaxCodecs,
		"routes of a ROUTES frame":                                     wire.MaxRoutes,
	} {
		row(name, limit)
	}
	if !strings.Contains(text, "`"+wire.Protocol+"`") {
		t.Errorf("%s does not name %s", docs, wire.Protocol)
	}
}
