package doctest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// names are the exported names of a package, and as "Type.Name" the fields and methods of its exported types.
type names map[string]bool

// api returns the exported names of each package that programs can import, by its path in the module; that of package
// link is "link".
func api(t *testing.T) map[string]names {
	t.Helper()
	found := make(map[string]names)
	outside := regexp.MustCompile(`(^|/)(internal|testdata)/|^(bench|integration|examples|cmd)/`)
	for name, text := range files(t, ".go") {
		if strings.HasSuffix(name, "_test.go") || outside.MatchString(name) {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(name)
		if dir == "." {
			dir = "link"
		}
		if found[dir] == nil {
			found[dir] = make(names)
		}
		for _, decl := range file.Decls {
			found[dir].declare(decl)
		}
	}
	return found
}

func (n names) add(owner string, ids ...*ast.Ident) {
	for _, id := range ids {
		if id.IsExported() && (owner == "" || ast.IsExported(owner)) {
			n[strings.TrimPrefix(owner+"."+id.Name, ".")] = true
		}
	}
}

func (n names) declare(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		owner := ""
		if d.Recv != nil {
			owner = typeName(d.Recv.List[0].Type)
		}
		n.add(owner, d.Name)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				n.add("", s.Names...)
			case *ast.TypeSpec:
				n.add("", s.Name)
				n.members(s)
			}
		}
	}
}

// members adds the fields of a struct and the methods of an interface.
func (n names) members(s *ast.TypeSpec) {
	var list *ast.FieldList
	switch t := s.Type.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		return
	}
	for _, f := range list.List {
		n.add(s.Name.Name, f.Names...)
	}
}

// typeName returns the name of the type of a receiver.
func typeName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.IndexExpr:
		return typeName(x.X)
	case *ast.IndexListExpr:
		return typeName(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}

// mention is a name in docs/api.md, and the package whose section it is in, or "".
type mention struct{ section, name string }

// mentions returns the names in docs/api.md, such as "Node", "Node.Run" and "link.Node", and the packages that have a
// section.
func mentions(t *testing.T) (all []mention, sections []string) {
	t.Helper()
	heading := regexp.MustCompile("^### `([a-z/]+)`$")
	span := regexp.MustCompile("`((?:[a-z]+\\.)?[A-Z]\\w*(?:\\.[A-Z]\\w*)*…?)(?:\\([^`]*\\))?`")
	section := ""
	for line := range strings.Lines(read(t, "docs/api.md")) {
		if strings.HasPrefix(line, "#") {
			section = ""
		}
		if m := heading.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			section = m[1]
			sections = append(sections, section)
		}
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			all = append(all, mention{section, m[1]})
		}
	}
	return all, sections
}

// has reports whether there is the name or, if it ends in "…", one that begins so.
func (n names) has(name string) bool {
	start, some := strings.CutSuffix(name, "…")
	if !some {
		return n[name]
	}
	for known := range n {
		if strings.HasPrefix(known, start) {
			return true
		}
	}
	return false
}

// TestNamesInTheAPIPageExist checks each name in docs/api.md. In the section of a package it is one of that package.
// Elsewhere it is written with its package, or is one of pubsub or pipeline, which the page compares.
func TestNamesInTheAPIPageExist(t *testing.T) {
	known := api(t)
	of := func(pkg string) names {
		for dir, n := range known {
			if path.Base(dir) == pkg {
				return n
			}
		}
		return nil
	}
	all, sections := mentions(t)
	for _, section := range sections {
		if known[section] == nil {
			t.Errorf("docs/api.md has a section about %s, which is no package", section)
		}
	}
	for _, m := range all {
		pkg, name, qualified := strings.Cut(m.name, ".")
		switch {
		case pkg == "errors":
		case m.section != "":
			if !known[m.section].has(m.name) {
				t.Errorf("docs/api.md names %s in package %s, which does not have it", m.name, m.section)
			}
		case qualified && of(pkg) != nil:
			if !of(pkg).has(name) {
				t.Errorf("docs/api.md names %s, which does not exist", m.name)
			}
		default:
			if !of("pubsub").knows(m.name) && !of("pipeline").knows(m.name) {
				t.Errorf("docs/api.md names %s without a package, and neither pubsub nor pipeline has it", m.name)
			}
		}
	}
}

// knows reports whether a name is one of the package, or that of a field or method in it.
func (n names) knows(name string) bool {
	for known := range n {
		if known == name || strings.HasSuffix(known, "."+name) {
			return true
		}
	}
	return false
}

// TestTheAPIPageIsWhole checks that docs/api.md has each package and each of its exported names, so that a new one is
// a decision.
func TestTheAPIPageIsWhole(t *testing.T) {
	all, sections := mentions(t)
	written := make(map[string][]string)
	for _, m := range all {
		written[m.section] = append(written[m.section], m.name)
	}
	for dir, n := range api(t) {
		if !slices.Contains(sections, dir) {
			t.Errorf("docs/api.md has no section about %s", dir)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(n)) {
			covers := func(w string) bool {
				start, some := strings.CutSuffix(w, "…")
				return w == name || some && strings.HasPrefix(name, start)
			}
			if !strings.Contains(name, ".") && !slices.ContainsFunc(written[dir], covers) {
				t.Errorf("docs/api.md does not name %s of package %s", name, dir)
			}
		}
	}
}
