package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/topology"
)

// problems collects what is wrong with the document of a layer, or what it asks for and does not get. Without a
// document it collects those of several layers.
type problems struct {
	origin   string
	document *topology.Document
	list     []*topology.FieldError

	// more counts the problems beyond limits.MaxProblems.
	more int
}

func (p *problems) add(kind error, path, format string, args ...any) {
	if len(p.list) == limits.MaxProblems {
		p.more++
		return
	}
	e := &topology.FieldError{Kind: kind, Origin: p.origin, Path: path, Reason: fmt.Sprintf(format, args...)}
	if name, line, column := p.document.Position(path); line > 0 {
		e.Origin, e.Line, e.Column = name, line, column
	}
	p.list = append(p.list, e)
}

// validate adds what is wrong with the document alone.
func (p *problems) validate() {
	err := p.document.Validate()
	list := []error{err}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		list = joined.Unwrap()
	}
	for _, err := range list {
		if e, ok := errors.AsType[*topology.FieldError](err); ok {
			// A document made in Go does not know its origin.
			e.Origin = cmp.Or(e.Origin, p.origin)
			p.list = append(p.list, e)
		} else if more, ok := errors.AsType[limits.MoreError](err); ok {
			p.more += int(more)
		}
	}
}

// take appends the problems of o, in the order of its text.
func (p *problems) take(o *problems) {
	slices.SortStableFunc(o.list, func(a, b *topology.FieldError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	room := min(limits.MaxProblems-len(p.list), len(o.list))
	p.list = append(p.list, o.list[:room]...)
	p.more += len(o.list) - room + o.more
}

// errors returns the problems that were not only counted.
func (p *problems) errors() []error {
	list := make([]error, len(p.list))
	for i, e := range p.list {
		list[i] = e
	}
	return list
}

// err returns all problems as one error, or nil if there are none.
func (p *problems) err() error {
	list := p.errors()
	if p.more > 0 {
		list = append(list, limits.MoreError(p.more))
	}
	if len(list) == 1 {
		return list[0]
	}
	return errors.Join(list...)
}
