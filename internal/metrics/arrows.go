package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// arrow means that one file of a package uses what another one declares.
type arrow struct {
	from, to string
	// name is one of the names that it uses.
	name string
}

// arrows returns which files of the root package use what other files of it declare: types, functions, variables,
// constants, fields and methods. The receiver of a method does not count as a use. Other packages are not looked at, so a
// use is missed where a type of this package comes out of one of them.
func arrows(files []*file) []arrow {
	var syntax []*ast.File
	names := make(map[*token.File]string)
	set := token.NewFileSet()
	for _, f := range files {
		if f.pkg != "." {
			continue
		}
		parsed, err := parser.ParseFile(set, f.name, strings.Join(f.lines, "\n"), 0)
		if err != nil {
			continue
		}
		syntax = append(syntax, parsed)
		names[set.File(parsed.Pos())] = f.name
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	checker := types.Config{Importer: nothing{}, Error: func(error) {}}
	// The errors are about the packages that are not looked at.
	pkg, _ := checker.Check("link", set, syntax, info)
	receivers := receiversOf(syntax)
	seen := make(map[[2]string]string)
	for id, object := range info.Uses {
		if object.Pkg() != pkg || receivers[id] {
			continue
		}
		pair := [2]string{names[set.File(id.Pos())], names[set.File(object.Pos())]}
		if name := seen[pair]; pair[0] != pair[1] && pair[1] != "" && (name == "" || id.Name < name) {
			seen[pair] = id.Name
		}
	}
	var out []arrow
	for pair, name := range seen {
		out = append(out, arrow{pair[0], pair[1], name})
	}
	slices.SortFunc(out, func(a, b arrow) int { return strings.Compare(a.from+" "+a.to, b.from+" "+b.to) })
	return out
}

// nothing imports no package.
type nothing struct{}

// Import implements types.Importer.
func (nothing) Import(path string) (*types.Package, error) {
	return nil, fmt.Errorf("%s is not looked at", path)
}

// receiversOf returns the names in the receivers of methods.
func receiversOf(files []*ast.File) map[*ast.Ident]bool {
	out := make(map[*ast.Ident]bool)
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
				ast.Inspect(fn.Recv, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						out[id] = true
					}
					return true
				})
			}
		}
	}
	return out
}

// The order of the files is a list of names behind these words in this page: a file uses only files that come later.
const (
	orderPage  = "docs/design.md"
	orderWords = "Order of the files of package link: "
)

// againstOrder returns the arrows that run against the order that the page gives. A file that the page does not name is an
// error, and so is one that does not exist.
func againstOrder(root string, files []*file) ([]figure, error) {
	page, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(orderPage))) //nolint:gosec // it is a page of the repository
	if err != nil {
		return nil, err
	}
	_, text, found := strings.Cut(string(page), orderWords)
	if !found {
		return nil, fmt.Errorf("%s does not say %q", orderPage, orderWords)
	}
	text, _, _ = strings.Cut(text, "\n")
	order := make(map[string]int)
	for i, name := range regexp.MustCompile(`\w+\.go`).FindAllString(text, -1) {
		order[name] = i + 1
	}
	missing := maps.Clone(order)
	for _, f := range files {
		if f.pkg == "." && order[f.name] == 0 {
			return nil, fmt.Errorf("the order in %s lacks %s", orderPage, f.name)
		}
		delete(missing, f.name)
	}
	for name := range missing {
		return nil, fmt.Errorf("the order in %s names %s, which does not exist", orderPage, name)
	}
	var against []figure
	for _, a := range arrows(files) {
		if order[a.from] > order[a.to] {
			against = append(against, figure{"", a.from + " uses " + a.name + " of " + a.to})
		}
	}
	return append([]figure{{"arrows between files of package link against their order", fmt.Sprint(len(against))}}, against...), nil
}
