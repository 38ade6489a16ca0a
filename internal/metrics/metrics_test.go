package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFiguresOfASmallModule measures a module that is small enough to be counted by hand.
func TestFiguresOfASmallModule(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":            "module example.com/m\n",
		"m.go":              "package m\n\n// A is exported.\ntype A struct {\n\tx, y int // of A\n\tz int // a field\n}\n\n// F makes one.\nfunc F() AOption {\n\treturn nil\n}\n\n// AOption is one.\ntype AOption any\n",
		"m_test.go":         "package m\n\nvar Tests int\n",
		"internal/i/i.go":   "package i\n\n// Hidden is not public.\nvar Hidden int\n",
		"examples/e/e.go":   "package e\n\nvar Example int\n",
		"cmd/c/main.go":     "package main\n\nfunc main() {}\n",
		"other/go.mod":      "module example.com/other\n",
		"other/o.go":        "package other\n\nvar Other int\n",
		"p/testdata/x/x.go": "package x\n\nvar Data int\n",
	} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
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
	traces := sample(write, call) + short + short + sample("runtime.futex /go/sys.s:1", module+".(*Node).Call /x/call.go:3", call)
	got := commonest([]byte(traces))
	if len(got) != 2 || got[0].file != "reqrep.go" || got[1] != (frame{"internal/transport.(*lease).write", "call.go"}) {
		t.Errorf("got %+v", got)
	}
	if got := commonest([]byte(sample("runtime.futex /go/sys.s:1"))); got != nil {
		t.Errorf("a profile without calls: %+v", got)
	}
}
