package topology

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/linkmesh/link/internal/policy/errtext"
)

// decoder makes a Document from YAML nodes and records the position of each field. Its methods take
// the path of a field and its value, add a problem for a wrong value, and go on.
type decoder struct{ problems }

// field is one key of a mapping and the function that reads its value.
type field struct {
	key  string
	read func(path string, n *yaml.Node)
}

// into returns a function that reads a value with read and stores it in dst.
func into[T any](dst *T, read func(path string, n *yaml.Node) T) func(string, *yaml.Node) {
	return func(path string, n *yaml.Node) { *dst = read(path, n) }
}

// at adds a problem of kind ErrInvalid at a position in the document.
func (p *problems) at(at position, path, format string, args ...any) {
	p.addAt(at, ErrInvalid, path, format, args...)
}

// addAt adds a problem at a position, which overrides the recorded position of path.
func (p *problems) addAt(at position, kind error, path, format string, args ...any) {
	was, ok := p.source.at[path]
	p.source.at[path] = at
	p.add(kind, path, format, args...)
	if ok {
		p.source.at[path] = was
	} else {
		delete(p.source.at, path)
	}
}

// fields reads a mapping whose keys are known.
func (d *decoder) fields(path string, n *yaml.Node, fields ...field) {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	d.mapping(path, n, "keys "+errtext.List(keys, "and"), func(key string, at position, path string, value *yaml.Node) {
		for _, f := range fields {
			if f.key == key {
				f.read(path, value)
				return
			}
		}
		if key == "<<" {
			d.at(at, path, "merge keys are not allowed")
			return
		}
		d.at(at, path, "unknown key%s", meant(key, keys))
	})
}

// mapping calls each for every pair of a mapping. A repeated key, or a pair without a value, is a problem.
func (d *decoder) mapping(path string, n *yaml.Node, want string, each func(key string, at position, path string, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.at(position{n.Line, n.Column}, path, "is %s, want a mapping with the %s", shown(n), want)
		return
	}
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], n.Content[i+1]
		at := position{k.Line, k.Column}
		if k.Kind != yaml.ScalarNode {
			d.at(at, path, "a key is %s, want a word", shown(k))
			continue
		}
		inner := errtext.Path(path, k.Value)
		if line, ok := lines[k.Value]; ok {
			d.at(at, inner, "is there twice; it was first on line %d", line)
			continue
		}
		lines[k.Value] = k.Line
		if d.source.at[inner] = at; value.Kind == yaml.ScalarNode && value.Value != "" {
			d.source.at[inner] = position{value.Line, value.Column}
		}
		if value.Kind == yaml.ScalarNode && value.Tag == "!!null" {
			d.at(at, inner, "has no value; give it one or remove the key")
			continue
		}
		each(k.Value, at, inner, value)
	}
}

// named returns a function that reads a mapping whose keys are names.
func named[T any](d *decoder, want string, read func(string, *yaml.Node) T) func(string, *yaml.Node) map[string]T {
	return func(path string, n *yaml.Node) map[string]T {
		m := make(map[string]T, len(n.Content)/2)
		d.mapping(path, n, want, func(key string, at position, path string, value *yaml.Node) {
			d.source.at[path] = at
			m[key] = read(path, value)
		})
		return m
	}
}

// listOf returns a function that reads a sequence.
func listOf[T any](d *decoder, want string, read func(string, *yaml.Node) T) func(string, *yaml.Node) []T {
	return func(path string, n *yaml.Node) []T {
		if n.Kind != yaml.SequenceNode {
			hint := ""
			if n.Kind == yaml.ScalarNode && want == words && badText(n.Value, errtext.MaxShown) == "" {
				hint = ", such as [" + n.Value + "]"
			}
			d.at(position{n.Line, n.Column}, path, "is %s, want a list of %s%s", shown(n), want, hint)
			return nil
		}
		list := make([]T, 0, len(n.Content))
		for i, item := range n.Content {
			inner := fmt.Sprintf("%s[%d]", path, i)
			d.source.at[inner] = position{item.Line, item.Column}
			if item.Kind == yaml.ScalarNode && item.Tag == "!!null" {
				d.invalid(inner, "is empty")
				continue
			}
			list = append(list, read(inner, item))
		}
		return list
	}
}

// words is how messages name the entries of most lists.
const words = "words"

// texts reads a list of words.
func (d *decoder) texts(path string, n *yaml.Node) []string {
	return listOf(d, words, d.text)(path, n)
}

// pairs reads a mapping of words to words.
func (d *decoder) pairs(path string, n *yaml.Node) map[string]string {
	return named(d, `pairs, such as { x-canary: "1" }`, d.text)(path, n)
}

// text reads a scalar as it is written: 1.10 is "1.10", not the number 1.1.
func (d *decoder) text(path string, n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		d.invalid(path, "is %s, want a word", shown(n))
		return ""
	}
	return n.Value
}

func (d *decoder) integer(path string, n *yaml.Node) int {
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.invalid(path, "is %s, want a whole number such as 5", shown(n))
		return 1
	}
	if v < 0 {
		d.invalid(path, "is %d, want no negative number", v)
		return 1
	}
	return v
}

func (d *decoder) toggle(path string, n *yaml.Node) Switch {
	switch {
	case n.Kind == yaml.ScalarNode && n.Value == "true":
		return On
	case n.Kind == yaml.ScalarNode && n.Value == "false":
		return Off
	}
	d.invalid(path, "is %s, want true or false", shown(n))
	return 0
}

func (d *decoder) duration(path string, n *yaml.Node) time.Duration {
	v, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		hint := ""
		if _, err := strconv.ParseFloat(n.Value, 64); err == nil {
			hint = "; it lacks a unit"
		}
		d.invalid(path, "is %s, want a time such as 200ms, 5s or 2m%s", shown(n), hint)
		return 1
	}
	if v < 0 {
		d.invalid(path, "is %v, want no negative time", v)
		return 1
	}
	return v
}

func (d *decoder) percent(path string, n *yaml.Node) Percent {
	v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(n.Value, "%")), 64)
	if n.Kind != yaml.ScalarNode || err != nil || !(v >= 0 && v <= 100) {
		d.invalid(path, "is %s, want 0%% to 100%%", shown(n))
		return 1
	}
	return Percent(v)
}

// said refuses an explicit zero, because zero means not set in a Document.
func said[T int | time.Duration | Percent](d *decoder, hint string, read func(string, *yaml.Node) T) func(string, *yaml.Node) T {
	return func(path string, n *yaml.Node) T {
		v := read(path, n)
		if v == 0 {
			d.invalid(path, "is %s, want more than 0%s", n.Value, hint)
		}
		return v
	}
}

// orOff reads an explicit zero as Off.
func orOff[T int | time.Duration | Percent](read func(string, *yaml.Node) T) func(string, *yaml.Node) T {
	return func(path string, n *yaml.Node) T {
		if v := read(path, n); v != 0 {
			return v
		}
		return Off
	}
}

// shown describes a wrong value in a message.
func shown(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	}
	return errtext.Quote(n.Value)
}
