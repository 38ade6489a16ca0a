package deptest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strings"
	"testing"
)

// wall says which files may convert times to numbers of the system's clock, or strip their
// monotonic reading, and why. A key that ends in a slash is a folder.
var wall = map[string]string{
	"internal/clock/clock.go":                      "it is what the others use",
	"internal/doctest/":                            "it is for go test",
	"internal/securitytest/":                       "dates in certificates, for tests",
	"protocol/pipeline/":                           "its clocks go on from the time of their making",
	"protocol/pubsub/option.go":                    "a point in time that a user names",
	"protocol/pubsub/internal/journal/log.go":      "times of messages go on from the time of the log's making",
	"protocol/pubsub/internal/serve/deadletter.go": "times that others read",
}

// TestWhatWaitsGoesByAClockThatNobodySets checks that no other file depends on what the
// system's clock shows, so that nothing changes if it is set an hour back or forward.
func TestWhatWaitsGoesByAClockThatNobodySets(t *testing.T) {
	strips := map[string]string{"UnixNano": "", "UnixMilli": "", "UnixMicro": "", "Unix": "", "UTC": "", "Local": "", "Round": "0"}
	seen := 0
	walk(t, func(name string, content []byte) {
		inside := !strings.Contains(name, "/") || strings.HasPrefix(name, "internal/") || strings.HasPrefix(name, "protocol/")
		if !inside || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "/testdata/") {
			return
		}
		seen++
		for allowed := range wall {
			if name == allowed || strings.HasSuffix(allowed, "/") && strings.HasPrefix(name, allowed) {
				return
			}
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, content, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if argument, strip := strips[method.Sel.Name]; strip && holds(call, argument) {
				t.Errorf("%s: %s goes by a clock that can be set; use internal/clock, or time.Since", files.Position(call.Pos()), method.Sel.Name)
			}
			return true
		})
	})
	if seen == 0 {
		t.Error("the walk saw no file")
	}
}

// holds reports whether a call has only this argument, or no argument if it is "".
func holds(call *ast.CallExpr, argument string) bool {
	if argument == "" {
		return len(call.Args) == 0
	}
	if len(call.Args) != 1 {
		return false
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	return ok && literal.Value == argument
}
