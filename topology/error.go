package topology

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/linkmesh/link/internal/policy/limits"
)

// Kinds of errors, for errors.Is.
var (
	// ErrInvalid means that the document is malformed or contradicts itself.
	ErrInvalid = errors.New("invalid topology")

	// ErrLimit means that the document exceeds one of the bounds of this package.
	ErrLimit = errors.New("topology too large")

	// ErrRefused means that the document asks for something this process does not allow, such as a
	// redirect to another service or faults.
	ErrRefused = errors.New("topology refused")
)

// FieldError is one problem of a document.
type FieldError struct {
	// Kind is ErrInvalid, ErrLimit or ErrRefused.
	Kind error

	// Origin is the name given to Parse, or else that of the source: "Config.Routing.Topology".
	Origin string

	// Line and Column count from 1. Zero means not known, as for documents made in Go.
	Line   int
	Column int

	// Path names the field: "services.orders.routes[2].to". Empty means the document as a whole.
	Path string

	// Reason says what is wrong and how to fix it.
	Reason string
}

// Error returns the position, the path and the reason: "topology.yaml:12:9: services.orders.routes[2].to: …".
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

// source records the positions of the fields of a document, by path.
type source struct {
	name string
	at   map[string]position
}

type position struct{ line, column int }

// find returns the position of the field at path, or else that of the closest enclosing field.
func (s *source) find(path string) position {
	for {
		if at, ok := s.at[path]; ok || path == "" {
			return at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// Position returns where the field at path, such as "services.orders.routes[2].to", was written: the name given to
// Parse, the line and the column, both from 1. A field that was not written is where the closest field around it is. A
// document made in Go has no positions, and Position returns zeros.
func (d *Document) Position(path string) (name string, line, column int) {
	if d == nil || d.source == nil {
		return "", 0, 0
	}
	at := d.source.find(path)
	return d.source.name, at.line, at.column
}

// problems collects the errors of a document.
type problems struct {
	// source is nil for documents made in Go.
	source *source
	list   []*FieldError

	// more counts the problems beyond MaxProblems.
	more int
}

func (p *problems) add(kind error, path, format string, args ...any) {
	if len(p.list) == limits.MaxProblems {
		p.more++
		return
	}
	e := &FieldError{Kind: kind, Path: path, Reason: fmt.Sprintf(format, args...)}
	if p.source != nil {
		at := p.source.find(path)
		e.Origin, e.Line, e.Column = p.source.name, at.line, at.column
	}
	p.list = append(p.list, e)
}

func (p *problems) invalid(path, format string, args ...any) {
	p.add(ErrInvalid, path, format, args...)
}

// limit adds a problem if n exceeds bound.
func (p *problems) limit(path, what string, n, bound int) {
	if n > bound {
		p.add(ErrLimit, path, "has %d %s, want at most %d", n, what, bound)
	}
}

// sorted returns the problems, for a parsed document in the order of its text.
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
		list = append(list, limits.MoreError(p.more))
	}
	if len(list) == 1 {
		return list[0]
	}
	return errors.Join(list...)
}
