package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
)

// sized is the name and size of a file, function or struct.
type sized struct {
	what string
	size int
}

func measure(files []*file) []figure {
	var c counts
	for _, f := range files {
		c.add(f)
	}
	return c.figures()
}

// counts are the sums over all files.
type counts struct {
	files, funcs, structs []sized

	// code and comments count lines.
	code, comments int

	// trailing counts the comments behind code, openers those of them that opener recognizes.
	trailing, openers int

	// root counts the files of the root package.
	root int

	// exported counts exported names by package.
	// A name that files for several systems declare counts once.
	exported map[string]map[string]bool
	options  int
}

func (c *counts) add(f *file) {
	c.files = append(c.files, sized{f.name, len(f.lines)})
	c.lines(f)
	if f.pkg == "." {
		c.root++
	}
	for _, d := range f.syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			c.funcs = append(c.funcs, sized{f.name + " " + fn.Name.Name, f.line(fn.End()) - f.line(fn.Pos()) + 1})
		}
		if f.public() {
			c.export(f, d)
		}
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if t, ok := n.(*ast.TypeSpec); ok {
			if s, ok := t.Type.(*ast.StructType); ok {
				c.structs = append(c.structs, sized{f.name + " " + t.Name.Name, s.Fields.NumFields()})
			}
		}
		return true
	})
}

// lines counts the lines of code and of comments.
func (c *counts) lines(f *file) {
	commented := make(map[int]bool)
	for _, g := range f.syntax.Comments {
		for _, one := range g.List {
			first := f.line(one.Pos())
			before := strings.TrimSpace(f.lines[first-1][:f.set.Position(one.Pos()).Column-1])
			if before != "" {
				if !strings.HasPrefix(one.Text, "//nolint") {
					c.trailing++
					c.openers += opener(one.Text)
				}
				continue
			}
			for l := first; l <= f.line(one.End()); l++ {
				commented[l] = true
			}
		}
	}
	c.comments += len(commented)
	for i, l := range f.lines {
		if !commented[i+1] && strings.TrimSpace(l) != "" {
			c.code++
		}
	}
}

// opener returns 1 for a comment that continues the comment before it.
func opener(text string) int {
	text = strings.TrimSpace(strings.TrimPrefix(text, "//"))
	for _, w := range []string{"of ", "that ", "likewise", "as above"} {
		if strings.HasPrefix(text, w) {
			return 1
		}
	}
	return 0
}

// export counts the exported names of a declaration, without methods and fields.
func (c *counts) export(f *file, d ast.Decl) {
	if c.exported == nil {
		c.exported = make(map[string]map[string]bool)
	}
	count := func(name *ast.Ident) {
		if !name.IsExported() {
			return
		}
		if c.exported[f.pkg] == nil {
			c.exported[f.pkg] = make(map[string]bool)
		}
		c.exported[f.pkg][name.Name] = true
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			count(d.Name)
			if d.Name.IsExported() && returnsOption(d.Type) {
				c.options++
			}
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				count(s.Name)
			case *ast.ValueSpec:
				for _, name := range s.Names {
					count(name)
				}
			}
		}
	}
}

func returnsOption(t *ast.FuncType) bool {
	if t.Results == nil || len(t.Results.List) != 1 {
		return false
	}
	name, ok := t.Results.List[0].Type.(*ast.Ident)
	return ok && strings.HasSuffix(name.Name, "Option")
}

func (c *counts) figures() []figure {
	all := 0
	for _, names := range c.exported {
		all += len(names)
	}
	figures := []figure{
		{"files", fmt.Sprint(len(c.files))},
		{"lines of code", fmt.Sprint(c.code)},
		{"lines of a file, median, 90 %, most", quantiles(c.files, 50, 90)},
		{"lines of a function, 90 %, 99 %, most", quantiles(c.funcs, 90, 99)},
		{"fields of a struct, 99 %, most", quantiles(c.structs, 99)},
		{"comments, % of all lines", fmt.Sprintf("%.0f", 100*float64(c.comments)/float64(c.comments+c.code))},
		{"comments behind code, in 1000 lines of it", fmt.Sprintf("%.1f", 1000*float64(c.trailing)/float64(c.code))},
		{"comments behind code that open with of, that, likewise, as above", fmt.Sprint(c.openers)},
		{"files of package link", fmt.Sprint(c.root)},
		{"exported names", fmt.Sprint(all)},
		{"functions that make options", fmt.Sprint(c.options)},
	}
	for _, s := range c.structs {
		if s.size > wideStruct {
			figures = append(figures, figure{"a struct of more than 20 fields", fmt.Sprintf("%d (%s)", s.size, s.what)})
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(c.exported)) {
		figures = append(figures, figure{"exported names of " + pkg, fmt.Sprint(len(c.exported[pkg]))})
	}
	return figures
}

// wideStruct is the number of fields beyond which a struct is listed.
const wideStruct = 20

// quantiles returns the sizes at the given percentiles, and the largest size with its name.
func quantiles(all []sized, at ...int) string {
	slices.SortFunc(all, func(a, b sized) int { return cmp.Compare(a.size, b.size) })
	var out []string
	for _, p := range at {
		out = append(out, fmt.Sprint(all[(len(all)-1)*p/100].size))
	}
	last := all[len(all)-1]
	return strings.Join(out, ", ") + fmt.Sprintf(", %d (%s)", last.size, last.what)
}
