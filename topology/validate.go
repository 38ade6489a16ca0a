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

	"github.com/linkmesh/link/internal/policy/errtext"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/policy/reach"
)

// Validate checks the whole document. The error joins one *FieldError for each problem, in a fixed
// order. Problems beyond the first 20 are only counted. A nil Document is valid.
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
	services := make(map[string]reach.Service, len(d.Services))
	for name, s := range d.Services {
		services[name] = s.ways()
	}
	for _, found := range reach.Check(services) {
		kind := ErrInvalid
		if found.TooLong {
			kind = ErrLimit
		}
		p.add(kind, found.Path, "%s", found.Reason)
	}
}

// ways returns where the calls of a service may go.
func (s Service) ways() reach.Service {
	ways := reach.Service{Failover: s.Failover}
	for _, r := range s.Routes {
		ways.Routes = append(ways.Routes, reach.Route{To: r.To, Failover: r.Failover})
	}
	if s.Mirror != nil {
		ways.Mirror = s.Mirror.To
	}
	return ways
}

// validateFields checks everything that can be checked one service at a time.
func (d *Document) validateFields(p *problems) {
	if d.Version != "" && d.Version != currentVersion {
		p.invalid("version", "%s is not known, want %q", errtext.Quote(d.Version), currentVersion)
	}
	p.limit("services", "services", len(d.Services), limits.MaxServices)
	for _, name := range slices.Sorted(maps.Keys(d.Services)) {
		s := d.Services[name]
		path := errtext.Path("services", name)
		if reason := badService(name); reason != "" {
			p.invalid(path, "%s cannot be the name of a service: %s", errtext.Quote(name), reason)
			continue
		}
		v := serviceCheck{p, path, name, s.Subsets, d.Services}
		v.service(s)
	}
	p.duration("defaults.timeout", d.Defaults.Timeout)
	p.retry("defaults.retry", d.Defaults.Retry)
}

// retryUnavailable is the code of calls that fail because their instance is gone or shutting down.
const retryUnavailable = "unavailable"

// duration checks that d is between 0 and MaxDuration.
func (p *problems) duration(path string, d time.Duration) {
	if d < 0 {
		p.invalid(path, "is %v, want no negative time", d)
	}
	if d > limits.MaxDuration {
		p.add(ErrLimit, path, "is %v, want at most %v", d, limits.MaxDuration)
	}
}

func (p *problems) retry(path string, r Retry) {
	if r.Attempts < 0 || r.Attempts > limits.MaxAttempts {
		p.invalid(errtext.Path(path, "attempts"), "is %d, want 1 (no retries) to %d", r.Attempts, limits.MaxAttempts)
	}
	if !(r.Budget >= 0 && r.Budget <= 100) {
		p.invalid(errtext.Path(path, "budget"), "is %v, want more than 0%% to 100%%", r.Budget)
	}
	on := errtext.Path(path, "on")
	if r.On != nil && len(r.On) == 0 {
		p.invalid(on, "names no code; attempts: 1 switches retries off")
	}
	for i, code := range r.On {
		at := fmt.Sprintf("%s[%d]", on, i)
		if known := []string{retryUnavailable, "resource_exhausted"}; !slices.Contains(known, code) {
			p.invalid(at, "%s is not a code to retry on%s", errtext.Quote(code), meant(code, known))
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
	case len(name) > limits.MaxName:
		return "want at most " + strconv.Itoa(limits.MaxName) + " bytes"
	case strings.ContainsFunc(name, func(r rune) bool {
		return r >= utf8.RuneSelf || !errtext.Alphanumeric(byte(r)) && r != '.' && r != '_' && r != '-'
	}):
		return "want only letters, digits and ._-"
	case !errtext.Alphanumeric(name[0]) || !errtext.Alphanumeric(name[len(name)-1]):
		return "want a letter or digit at both ends"
	}
	return ""
}

// badSubset says why a name is not valid for a subset, or returns "".
func badSubset(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > limits.MaxName:
		return "want at most " + strconv.Itoa(limits.MaxName) + " bytes"
	case name == reach.Any:
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
