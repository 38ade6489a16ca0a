package topology

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Validate checks the whole document. The error joins one *FieldError for each problem, in a fixed
// order. Problems beyond MaxProblems are only counted. A nil Document is valid.
func (d *Document) Validate() error {
	if d == nil {
		return nil
	}
	p := &problems{source: d.source}
	d.validate(p)
	return p.err()
}

// validate checks the fields and, if they are valid, that the document has no cycles.
func (d *Document) validate(p *problems) {
	d.validateFields(p)
	if len(p.list) > 0 {
		return
	}
	g := make(graph, len(d.Services))
	for name, s := range d.Services {
		g[name] = entry{service: s, problems: p}
	}
	g.check()
}

// validateFields checks everything that can be checked one service at a time.
func (d *Document) validateFields(p *problems) {
	if d.Version != "" && d.Version != Version {
		p.invalid("version", "%s is not known, want %q", clipped(d.Version), Version)
	}
	p.limit("services", "services", len(d.Services), MaxServices)
	for _, name := range slices.Sorted(maps.Keys(d.Services)) {
		s := d.Services[name]
		path := join("services", name)
		if reason := badService(name); reason != "" {
			p.invalid(path, "%s cannot be the name of a service: %s", clipped(name), reason)
			continue
		}
		v := serviceCheck{p, path, name, s.Subsets, d.Services}
		v.service(s)
	}
	p.duration("defaults.timeout", d.Defaults.Timeout)
	p.retry("defaults.retry", d.Defaults.Retry)
}

// duration checks that d is between 0 and MaxDuration.
func (p *problems) duration(path string, d time.Duration) {
	if d < 0 {
		p.invalid(path, "is %v, want no negative time", d)
	}
	if d > MaxDuration {
		p.add(ErrLimit, path, "is %v, want at most %v", d, MaxDuration)
	}
}

func (p *problems) retry(path string, r Retry) {
	if r.Attempts < 0 || r.Attempts > MaxAttempts {
		p.invalid(join(path, "attempts"), "is %d, want 1 (no retries) to %d", r.Attempts, MaxAttempts)
	}
	if !(r.Budget >= 0 && r.Budget <= 100) {
		p.invalid(join(path, "budget"), "is %v, want more than 0%% to 100%%", r.Budget)
	}
	on := join(path, "on")
	if r.On != nil && len(r.On) == 0 {
		p.invalid(on, "names no code; attempts: 1 switches retries off")
	}
	for i, code := range r.On {
		at := fmt.Sprintf("%s[%d]", on, i)
		if known := []string{retryUnavailable, "resource_exhausted"}; !slices.Contains(known, code) {
			p.invalid(at, "%s is not a code to retry on%s", clipped(code), meant(code, known))
		} else if slices.Contains(r.On[:i], code) {
			p.invalid(at, "%s is there twice", code)
		}
	}
}

// badService says why a name is not valid for a service, or returns "". The rules are those of SPIFFE
// IDs, which contain the name.
func badService(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > MaxName:
		return "want at most " + strconv.Itoa(MaxName) + " bytes"
	case strings.ContainsFunc(name, func(r rune) bool {
		return r >= utf8.RuneSelf || !alphanumeric(byte(r)) && r != '.' && r != '_' && r != '-'
	}):
		return "want only letters, digits and ._-"
	case !alphanumeric(name[0]) || !alphanumeric(name[len(name)-1]):
		return "want a letter or digit at both ends"
	}
	return ""
}

// badSubset says why a name is not valid for a subset, or returns "".
func badSubset(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > MaxName:
		return "want at most " + strconv.Itoa(MaxName) + " bytes"
	case name == wordAny:
		return `"any" stands for every instance`
	case strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }):
		return "want only a-z, 0-9 and -"
	case name[0] == '-':
		return "want a letter or digit first"
	}
	return ""
}

// badText says why a text is not valid in a document, or returns "". The limit is in bytes.
func badText(s string, limit int) string {
	switch {
	case len(s) > limit:
		return "want at most " + strconv.Itoa(limit) + " bytes, has " + strconv.Itoa(len(s))
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "has a character that is not printable"
	}
	return ""
}
