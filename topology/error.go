package topology

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kinds of errors, for errors.Is.
var (
	// ErrInvalid: the document is not what it should be.
	ErrInvalid = errors.New("invalid topology")

	// ErrLimit: the document is larger than one of the bounds in this package.
	ErrLimit = errors.New("topology too large")

	// ErrRefused: the document asks for what this process does not allow: a redirect to another
	// service, faults.
	ErrRefused = errors.New("topology refused")
)

// FieldError is one problem of a document.
type FieldError struct {
	Kind   error  // ErrInvalid, ErrLimit, ErrRefused or ErrBounded
	Origin string // the file as named to Parse, else the layer
	Line   int    // from 1; 0 if not known, as for documents made in Go
	Column int    // from 1; 0 if not known
	Path   string // the field: "services.orders.routes[2].to"; "" for the document as a whole
	Reason string // what is wrong and what to do
}

// Error returns "topology.yaml:12:9: services.orders.routes[2].to: " and the reason.
func (e *FieldError) Error() string {
	var b strings.Builder
	b.WriteString(e.Origin)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	for _, part := range []string{e.Path, e.Reason} {
		if b.Len() > 0 && part != "" {
			b.WriteString(": ")
		}
		b.WriteString(part)
	}
	return b.String()
}

// Unwrap returns the kind.
func (e *FieldError) Unwrap() error { return e.Kind }

// source is where the fields of a document were written.
type source struct {
	name string
	at   map[string]position // by path
}

type position struct{ line, column int }

// find returns where the field at path was written, or else what it is in.
func (s *source) find(path string) position {
	for {
		if at, ok := s.at[path]; ok || path == "" {
			return at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// problems collects what is wrong with a document.
type problems struct {
	origin string  // for documents without a source
	source *source // nil for documents made in Go
	list   []*FieldError
	more   int // beyond MaxProblems
}

func (p *problems) add(kind error, path, format string, args ...any) {
	if len(p.list) == MaxProblems {
		p.more++
		return
	}
	e := &FieldError{Kind: kind, Origin: p.origin, Path: path, Reason: fmt.Sprintf(format, args...)}
	if p.source != nil {
		at := p.source.find(path)
		e.Origin, e.Line, e.Column = p.source.name, at.line, at.column
	}
	p.list = append(p.list, e)
}

func (p *problems) invalid(path, format string, args ...any) {
	p.add(ErrInvalid, path, format, args...)
}

// limit adds a problem if n is beyond a bound.
func (p *problems) limit(path, what string, n, bound int) {
	if n > bound {
		p.add(ErrLimit, path, "has %d %s, want at most %d", n, what, bound)
	}
}

// take adds the problems of o.
func (p *problems) take(o *problems) {
	o.sorted()
	room := min(MaxProblems-len(p.list), len(o.list))
	p.list = append(p.list, o.list[:room]...)
	p.more += len(o.list) - room + o.more
}

// sorted returns the problems in the order of the text, for documents that were parsed.
func (p *problems) sorted() []error {
	if p.source != nil {
		slices.SortStableFunc(p.list, func(a, b *FieldError) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
	}
	list := make([]error, len(p.list))
	for i, e := range p.list {
		list[i] = e
	}
	return list
}

func (p *problems) err() error {
	list := p.sorted()
	if p.more > 0 {
		list = append(list, fmt.Errorf("and %d more problems", p.more))
	}
	if len(list) == 1 {
		return list[0]
	}
	return errors.Join(list...)
}
