//go:build !race

package topology_test

import (
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

// The tests of this file do not run under the race detector: they do much work in one goroutine,
// which would cost ten times as much there, and the detector would see nothing new.

// TestParseSurvivesBombs checks that the cost of a hostile document is bounded by its size: Parse
// must return an error, in time, for the shapes that are most expensive for parsers.
func TestParseSurvivesBombs(t *testing.T) {
	const size = limits.MaxDocument - 16
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	for name, text := range map[string]string{
		"open brackets":   fill("["),
		"dashes":          fill("- "),
		"empty mappings":  "[" + fill("{},") + "]",
		"anchors":         "[" + fill("&a a,") + "]",
		"aliases":         "a: &a [" + fill("x,")[:1<<16] + "]\nb: [" + fill("*a,")[:1<<18] + "]",
		"one key":         fill("a:\n"),
		"comments":        fill("#\n"),
		"question marks":  fill("? \n"),
		"escapes":         `"` + fill(`\x41`) + `"`,
		"directives":      fill("%a\n"),
		"billion laughs":  "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n",
		"many services":   "version: link/v1\nservices: {" + policytest.ManyServices(limits.MaxServices+1) + "}",
		"control":         "version: link/v1\x00",
		"next line":       "version: link/v1\u0085",
		"half a sequence": "version: \xc3",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := topology.Parse("t.yaml", []byte(text)); err == nil {
				t.Error("Parse took it")
			}
		})
	}
}
