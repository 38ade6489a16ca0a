package doctest

import (
	"regexp"
	"strings"
)

// Commands returns the commands of a block, without comments.
func (b Block) Commands() []string {
	var commands []string
	for line := range strings.Lines(b.Text) {
		command, _, _ := strings.Cut(" "+line, " #")
		if command = strings.TrimSpace(command); command != "" {
			commands = append(commands, command)
		}
	}
	return commands
}

// Makefile holds the targets and recipes of a Makefile, which the pages may refer to.
type Makefile struct {
	targets map[string]bool
	recipes string
}

var target = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)

// ParseMakefile finds the targets and recipes of a Makefile.
func ParseMakefile(text string) Makefile {
	m := Makefile{targets: make(map[string]bool)}
	for _, found := range target.FindAllStringSubmatch(text, -1) {
		m.targets[found[1]] = true
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "\t") {
			m.recipes += line
		}
	}
	return m
}

// Knows reports whether command is make with existing targets, or a command that
// a recipe runs. Variables ("ROW=x") and make without a target are always valid.
func (m Makefile) Knows(command string) bool {
	words := strings.Fields(command)
	if len(words) == 0 {
		return false
	}
	if words[0] != "make" {
		return m.runs(command)
	}
	for _, word := range words[1:] {
		if !strings.Contains(word, "=") && !m.targets[word] {
			return false
		}
	}
	return true
}

// runs reports whether a recipe contains command as whole words.
func (m Makefile) runs(command string) bool {
	whole := regexp.MustCompile(`(^|[\s,;&(@])` + regexp.QuoteMeta(command) + `($|[\s,;&)])`)
	return whole.MatchString(m.recipes)
}

var span = regexp.MustCompile("`(make [^`\n]+)`")

// Mentions returns the code spans of a page that begin with "make ".
func Mentions(page string) []string {
	var out []string
	for _, found := range span.FindAllStringSubmatch(page, -1) {
		out = append(out, found[1])
	}
	return out
}
