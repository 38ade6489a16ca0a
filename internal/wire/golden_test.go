package wire_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/linkmesh/link/internal/wire"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txtar and the examples in docs/wire.md")

// A golden transcript, testdata/<scene>.txtar, holds all that is sent in one scene.
// Each section is what one side sends on one stream at one time, as hex. Lines
// that begin with # are comments, lines that begin with ! are events of QUIC.

// transcript is the transcript of one scene.
type transcript struct {
	scene, about string
	sections     []section
}

// section is named "<number> <client or server> stream <ID>".
type section struct {
	name  string
	items []item
}

// item is a stream type, a frame or an event.
type item struct {
	bytes []byte
	// typ is set if bytes holds the type of the stream.
	typ   bool
	event string
}

func typ(t wire.StreamType) item { return item{bytes: wire.AppendVarint(nil, uint64(t)), typ: true} }

func frame(b []byte) item { return item{bytes: b} }

func event(s string) item { return item{event: s} }

// code returns an event that carries an error code.
func code(name string, c wire.Code) item {
	return event(fmt.Sprintf("%s %v (0x%02x)", name, c, uint64(c)))
}

// data returns the DATA frame of a sender that encodes the message in place.
func data(message string) item { return frame(openFrame(wire.KindData, 0, []byte(message))) }

func openFrame(kind wire.Kind, flags wire.Flags, message []byte) []byte {
	b, body := wire.BeginFrame(nil, kind, flags)
	b = append(b, message...)
	if err := wire.EndFrame(b, body); err != nil {
		panic(err) //nolint:forbidigo // messages of transcripts are short
	}
	return b
}

// plain returns a frame whose length was known in advance.
func plain(kind wire.Kind, flags wire.Flags, body string) item {
	b := wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: kind, Flags: flags, Length: uint64(len(body))})
	return frame(append(b, body...))
}

func (t *transcript) archive(tb testing.TB) *txtar.Archive {
	tb.Helper()
	a := &txtar.Archive{Comment: []byte(t.about + "\n\n")}
	for i, s := range t.sections {
		var b bytes.Buffer
		for _, it := range s.items {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			it.write(tb, &b)
		}
		b.WriteByte('\n')
		a.Files = append(a.Files, txtar.File{Name: fmt.Sprintf("%02d %s", i+1, s.name), Data: b.Bytes()})
	}
	return a
}

func (it *item) write(tb testing.TB, b *bytes.Buffer) {
	tb.Helper()
	switch {
	case it.event != "":
		fmt.Fprintf(b, "! %s\n", it.event)
	case it.typ:
		fmt.Fprintf(b, "# stream type %s\n%x\n", streamTypeName(it.bytes), it.bytes)
	default:
		h, body := splitFrame(tb, it.bytes)
		fmt.Fprintf(b, "# %s\n", describe(h))
		if text := diagnose(tb, h, body); text != "" {
			fmt.Fprintf(b, "# %s\n", text)
		}
		dump(b, it.bytes[:len(it.bytes)-len(body)])
		dump(b, body)
	}
}

func dump(b *bytes.Buffer, p []byte) {
	for len(p) > 0 {
		n := min(len(p), 24)
		fmt.Fprintf(b, "% x\n", p[:n])
		p = p[n:]
	}
}

// goldenFrame is a frame of a golden transcript.
type goldenFrame struct {
	header wire.FrameHeader
	body   []byte
	// raw is the whole frame.
	raw []byte
}

// goldenFrames returns all frames of all golden files.
func goldenFrames(tb testing.TB) []goldenFrame {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no golden files in testdata: %v", err)
	}
	var frames []goldenFrame
	for _, name := range files {
		for _, s := range readGolden(tb, name) {
			frames = append(frames, s.frames...)
		}
	}
	return frames
}

// goldenSection is a section of a golden file, read back.
type goldenSection struct {
	name string
	// bytes is the whole section.
	bytes []byte
	// start is the stream type, if the stream begins here.
	start  []byte
	frames []goldenFrame
	events []string
}

// readGolden reads a golden file without using the code that wrote it.
func readGolden(tb testing.TB, path string) []goldenSection {
	tb.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	begun := make(map[string]bool)
	sections := make([]goldenSection, 0, len(archive.Files))
	for _, file := range archive.Files {
		s := goldenSection{name: file.Name}
		s.bytes, s.events = readDump(tb, path, file.Data)
		_, stream, ok := strings.Cut(file.Name, "stream ")
		if !ok {
			tb.Fatalf("%s: section %q names no stream", path, file.Name)
		}
		rest := s.bytes
		if !begun[stream] {
			begun[stream] = true
			_, n, err := wire.ParseVarint(rest)
			if err != nil {
				tb.Fatalf("%s: %s: stream type: %v", path, file.Name, err)
			}
			s.start, rest = rest[:n], rest[n:]
		}
		for len(rest) > 0 {
			h, n, err := wire.ParseFrameHeader(rest)
			if err != nil || h.Length > uint64(len(rest)-n) {
				tb.Fatalf("%s: %s: frame %+v at %x: %v", path, file.Name, h, rest, err)
			}
			end := n + int(h.Length)
			s.frames = append(s.frames, goldenFrame{h, rest[n:end], rest[:end]})
			rest = rest[end:]
		}
		sections = append(sections, s)
	}
	return sections
}

func readDump(tb testing.TB, path string, text []byte) (b []byte, events []string) {
	tb.Helper()
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '!':
			events = append(events, strings.TrimSpace(line[1:]))
		default:
			p, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			if err != nil {
				tb.Fatalf("%s: %q: %v", path, line, err)
			}
			b = append(b, p...)
		}
	}
	return b, events
}

func TestGoldenTranscripts(t *testing.T) {
	want := make(map[string]bool)
	for _, tr := range transcripts() {
		path := filepath.Join("testdata", tr.scene+".txtar")
		want[path] = true
		got := txtar.Format(tr.archive(t))
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v; run go test ./internal/wire -update", err)
			continue
		}
		if d := diff(string(golden), string(got)); d != "" {
			t.Errorf("%s is not what is written now. A change of the wire needs a new version; if only the transcript changed, run go test -update.\n%s", path, d)
		}
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if !want[path] {
			t.Errorf("%s belongs to no transcript", path)
		}
	}
}

// TestGoldenTranscriptsSurviveParsing reads each golden file back, parses every
// frame and writes it again: the bytes must be the same.
func TestGoldenTranscriptsSurviveParsing(t *testing.T) {
	for _, tr := range transcripts() {
		for _, s := range readGolden(t, filepath.Join("testdata", tr.scene+".txtar")) {
			again := bytes.Clone(s.start)
			for _, f := range s.frames {
				again = append(again, rewrite(t, f)...)
			}
			if !bytes.Equal(again, s.bytes) {
				t.Errorf("%s, %s: parsed and written again differs:\n in %x\nout %x", tr.scene, s.name, s.bytes, again)
			}
			for _, e := range s.events {
				checkEvent(t, e)
			}
		}
	}
}

// rewrite parses a frame and writes what was parsed.
func rewrite(tb testing.TB, f goldenFrame) []byte {
	tb.Helper()
	if c := codecOf(f.header.Kind); c != nil {
		v, err := c.parse(f.body)
		if err != nil {
			tb.Fatalf("%v %x: %v", c, f.body, err)
		}
		if status, ok := v.(*wire.Status); ok {
			return wire.AppendStatus(nil, status, f.header.Flags&(wire.FlagLast|wire.FlagOdd))
		}
		return c.write(nil, v)
	}
	switch f.header.Kind {
	case wire.KindCredit:
		c, err := wire.ParseCredit(f.body)
		if err != nil {
			tb.Fatal(err)
		}
		return wire.AppendCredit(nil, c)
	case wire.KindPing, wire.KindPong:
		token, err := wire.ParsePing(f.body)
		if err != nil {
			tb.Fatal(err)
		}
		return wire.AppendPing(nil, f.header.Kind, token)
	case wire.KindData:
		return openFrame(f.header.Kind, f.header.Flags, f.body)
	default:
		return append(wire.AppendFrameHeader(nil, f.header), f.body...)
	}
}

// checkEvent checks that an event of QUIC is FIN, or has a code and its name.
func checkEvent(tb testing.TB, e string) {
	tb.Helper()
	if e == "FIN" {
		return
	}
	var what, name string
	var number uint64
	if _, err := fmt.Sscanf(e, "%s %s (%v)", &what, &name, &number); err != nil || wire.Code(number).String() != name {
		tb.Errorf("event %q: %v, want the name %v", e, err, wire.Code(number))
	}
	switch what {
	case "RESET_STREAM", "STOP_SENDING", "CONNECTION_CLOSE":
	default:
		tb.Errorf("event %q is none of QUIC's", e)
	}
}
