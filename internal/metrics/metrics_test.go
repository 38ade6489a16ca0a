package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// moduleOf writes files into a folder, and returns the folder.
func moduleOf(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestFiguresOfASmallModule measures a module that is small enough to be counted by hand.
func TestFiguresOfASmallModule(t *testing.T) {
	root := moduleOf(t, map[string]string{
		"go.mod":            "module example.com/m\n",
		"m.go":              "package m\n\n// A is exported.\ntype A struct {\n\tx, y int // of A\n\tz int // a field\n}\n\n// F makes one.\nfunc F() AOption {\n\treturn nil\n}\n\n// AOption is one.\ntype AOption any\n",
		"m_test.go":         "package m\n\nvar Tests int\n",
		"internal/i/i.go":   "package i\n\n// Hidden is not public.\nvar Hidden int\n",
		"examples/e/e.go":   "package e\n\nvar Example int\n",
		"cmd/c/main.go":     "package main\n\nfunc main() {}\n",
		"other/go.mod":      "module example.com/other\n",
		"other/o.go":        "package other\n\nvar Other int\n",
		"p/testdata/x/x.go": "package x\n\nvar Data int\n",
	})
	files, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, f := range measure(files) {
		got[f.name] = f.value
	}
	for name, want := range map[string]string{
		"files":                          "2",
		"lines of code":                  "11",
		"exported names":                 "3",
		"exported names of .":            "3",
		"files of package link":          "1",
		"functions that make options":    "1",
		"fields of a struct, 99 %, most": "3, 3 (m.go A)",
		"comments behind code that open with of, that, likewise, as above": "1",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}

// TestTheWayOfACall checks that the path of a call is the one of most samples, up to the code beyond the module.
func TestTheWayOfACall(t *testing.T) {
	sample := func(frames ...string) string {
		return "-----------+-------------------------------------------------------\n      10ms   " + strings.Join(frames, "\n             ") + "\n"
	}
	write, call := beyond+"(*Stream).Write /x/stream.go:7", first+"go.shape.struct {}] /x/reqrep.go:9"
	short := sample("runtime.memmove /go/memmove.s:1", write, module+"/internal/transport.(*lease).write /x/call.go:3", call, "testing.tRunner /go/testing.go:2")
	read := sample(beyond+"(*Stream).Read /x/stream.go:7", module+"/internal/transport.(*lease).read /x/call.go:3", call)
	traces := read + read + read + sample(write, call) + short + short + sample("runtime.futex /go/sys.s:1", module+".(*Node).Call /x/call.go:3", call)
	got := commonest([]byte(traces))
	if len(got) != 2 || got[0].file != "reqrep.go" || got[1] != (frame{"internal/transport.(*lease).write", "call.go"}) {
		t.Errorf("got %+v", got)
	}
	if got := commonest([]byte(sample("runtime.futex /go/sys.s:1"))); got != nil {
		t.Errorf("a profile without calls: %+v", got)
	}
}

// TestFilesOfLinkUseOnlyThoseBelowThem holds the order that docs/design.md gives.
func TestFilesOfLinkUseOnlyThoseBelowThem(t *testing.T) {
	files, err := read("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := againstOrder("../..", files)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got[1:] {
		t.Errorf("against the order in %s: %s", orderPage, f.value)
	}
	if n := len(arrows(files)); n < 100 {
		t.Errorf("only %d arrows were found, so this test looks at the wrong files", n)
	}
}

// TestArrowsBetweenFiles finds the arrows of a package of three files.
func TestArrowsBetweenFiles(t *testing.T) {
	root := moduleOf(t, map[string]string{
		"docs/design.md": "x\n" + orderWords + "`a.go`, `b.go`, `c.go`.\n",
		"a.go":           "package m\n\nimport \"example.com/other\"\n\nfunc f(x t) { other.F(); x.m() }\n",
		"b.go":           "package m\n\nfunc (x t) m() { println(x.field) }\n",
		"c.go":           "package m\n\ntype t struct{ field int }\n\nfunc g() { f(t{}) }\n",
	})
	files, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range arrows(files) {
		got = append(got, a.from+" "+a.to+" "+a.name)
	}
	// The receiver of m does not count as a use of its type, but the field does.
	if want := "a.go b.go m, a.go c.go t, b.go c.go field, c.go a.go f"; strings.Join(got, ", ") != want {
		t.Errorf("arrows %s, want %s", strings.Join(got, ", "), want)
	}
	against, err := againstOrder(root, files)
	if err != nil || len(against) != 2 || against[0].value != "1" || against[1].value != "c.go uses f of a.go" {
		t.Errorf("against the order: %v, %v", against, err)
	}
	for text, want := range map[string]string{
		"no order":                            "does not say",
		orderWords + "a.go, b.go":             "lacks c.go",
		orderWords + "a.go, b.go, c.go, d.go": "d.go, which does not exist",
	} {
		if err := os.WriteFile(filepath.Join(root, "docs", "design.md"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := againstOrder(root, files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("order %q: %v, want %q", text, err, want)
		}
	}
}
