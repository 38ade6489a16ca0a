package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/linkmesh/link/internal/policy/errtext"
	"github.com/linkmesh/link/internal/policy/limits"
)

// Parse reads a document in YAML; JSON is YAML. The result is valid, see [Document.Validate].
// The name stands for the document in errors; a file name, for example. Data is not kept.
//
// Parse is strict: unknown and repeated keys, empty values, aliases, anchors, tags and a second
// document are errors. The error joins one *FieldError for each problem, with line and column.
// Problems beyond the first 20 are only counted.
func Parse(name string, data []byte) (*Document, error) {
	d := &decoder{problems{source: &source{name: name, at: map[string]position{}}}}
	root := d.syntax(data)
	if root == nil || !d.plain(root, "", 0) {
		return nil, d.err()
	}
	doc := d.document("", root)
	if len(d.list) == 0 {
		doc.source = d.source
		doc.validate(&d.problems)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return doc, nil
}

// syntax returns the root node of the document, or adds a problem and returns nil.
func (d *decoder) syntax(data []byte) *yaml.Node {
	if len(data) > limits.MaxDocument {
		d.add(ErrLimit, "", "has %d bytes, want at most %d", len(data), limits.MaxDocument)
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if at, what := unreadable(data); what != "" {
		d.at(at, "", "has %s; want text in UTF-8", what)
		return nil
	}
	if bytes.ContainsRune(data, '\t') && json.Valid(data) {
		// YAML refuses tabs as indentation. In JSON, tabs occur only between tokens.
		data = bytes.ReplaceAll(data, []byte{'\t'}, []byte{' '})
	}
	decode := yaml.NewDecoder(bytes.NewReader(data))
	doc, err := next(decode)
	switch {
	case errors.Is(err, io.EOF), err == nil && emptyNode(doc):
		d.at(position{1, 1}, "", "the document is empty; a document begins with %q", "version: "+currentVersion)
		return nil
	case err != nil:
		d.badSyntax(data, err)
		return nil
	}
	if second, err := next(decode); err == nil {
		d.at(position{second.Line, second.Column}, "", "a second document begins here; want one in a file")
		return nil
	} else if !errors.Is(err, io.EOF) {
		d.badSyntax(data, err)
		return nil
	}
	return doc.Content[0]
}

func emptyNode(doc *yaml.Node) bool {
	return len(doc.Content) == 0 || doc.Content[0] == nil || doc.Content[0].Kind == 0 ||
		doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].Tag == "!!null" && doc.Content[0].Value == ""
}

// next reads one document. It recovers panics of the parser, which has panicked on malformed input
// before (go-yaml issues 560, 665 and 744, since fixed).
func next(decode *yaml.Decoder) (doc *yaml.Node, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("yaml: the parser failed on it: %v", v)
		}
	}()
	doc = new(yaml.Node)
	err = decode.Decode(doc)
	return doc, err
}

// badSyntax reports an error of the YAML library, with a hint.
func (d *decoder) badSyntax(data []byte, err error) {
	message, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if m := regexp.MustCompile(`^line (\d+): (.*)`).FindStringSubmatch(message); m != nil {
		// m[1] is all digits. If it overflows, Atoi returns a large number, which is reduced below.
		line, _ = strconv.Atoi(m[1])
		message = m[2]
	}
	hint := ""
	text := lineOf(data, line)
	switch {
	case strings.HasPrefix(message, "did not find expected"):
		// In these messages the library counts lines from 0, and names the first line of the construct.
		line++
		hint = "; look below this line for wrong indentation or a missing comma, quote or bracket"
	case strings.Contains(message, "cannot start any token") && strings.Contains(indentation(text), "\t"):
		message = "a tab; indent with spaces"
	case strings.Contains(message, "cannot start any token"):
		hint = "; put the value in quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		hint = "; look for wrong indentation or a missing colon on the line before, or put a value that contains a colon in quotes"
	case strings.Contains(message, "unexpected end of stream"):
		hint = "; a quote is not closed"
	case strings.Contains(message, "could not find expected ':'"):
		hint = "; look on this line and the one before for a missing colon"
	}
	if m := regexp.MustCompile(`^unknown anchor '(.*)' referenced`).FindStringSubmatch(message); m != nil {
		at := max(bytes.Index(data, []byte("*"+m[1])), 0)
		message, line = errtext.Quote("*"+m[1])+" is an alias of nothing; aliases are not allowed, write the value out", 1+bytes.Count(data[:at], []byte{'\n'})
	}
	line = min(line, 1+bytes.Count(bytes.TrimSuffix(data, []byte{'\n'}), []byte{'\n'}))
	d.at(position{line: line}, "", "is not YAML: %s%s", message, hint)
}

func lineOf(data []byte, line int) string {
	for ; line > 1; line-- {
		_, data, _ = bytes.Cut(data, []byte{'\n'})
	}
	text, _, _ := bytes.Cut(data, []byte{'\n'})
	return string(text)
}

func indentation(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }

// unreadable describes the first byte that is not UTF-8 or the first control character, or returns "".
func unreadable(data []byte) (position, string) {
	at := position{1, 1}
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return at, fmt.Sprintf("the byte 0x%02x, which is not UTF-8", data[0])
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r >= 0x7f && r < 0xa0:
			return at, fmt.Sprintf("the control character %U", r)
		}
		at.column++
		if data = data[size:]; r == '\n' {
			at = position{at.line + 1, 1}
		}
	}
	return at, ""
}

// plain reports whether the tree has none of the YAML features that a document must not use.
// Aliases are refused because they can make a small file large, and a policy hard to read.
func (d *decoder) plain(n *yaml.Node, path string, depth int) bool {
	at := position{n.Line, n.Column}
	switch {
	case depth > limits.MaxNesting:
		d.addAt(at, ErrLimit, "", "is nested deeper than %d levels", limits.MaxNesting)
		return false
	case n.Kind == yaml.AliasNode:
		d.at(at, path, "%s is an alias; aliases are not allowed, write the value out", errtext.Quote("*"+n.Value))
		return false
	case n.Anchor != "":
		d.at(at, path, "%s is an anchor; anchors and aliases are not allowed", errtext.Quote("&"+n.Anchor))
		return false
	case n.Style&yaml.TaggedStyle != 0:
		d.at(at, path, "has the tag %s; tags are not allowed, put text in quotes instead", errtext.Quote(n.Tag))
		return false
	}
	ok := true
	for _, child := range n.Content {
		ok = d.plain(child, path, depth+1) && ok
	}
	return ok
}
