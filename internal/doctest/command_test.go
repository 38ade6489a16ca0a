package doctest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/doctest"
)

func TestCommandsInPagesExist(t *testing.T) {
	makefile := doctest.ParseMakefile(read(t, "Makefile"))
	module, _, _ := strings.Cut(strings.TrimPrefix(read(t, "go.mod"), "module "), "\n")
	for _, b := range blocks(t, "sh") {
		for _, command := range b.Commands() {
			if !makefile.Knows(command) && command != "go get "+module {
				t.Errorf("%s: %q is neither a target of the Makefile nor run by one", b, command)
			}
		}
	}
	for _, b := range blocks(t, "") {
		for _, command := range b.Commands() {
			if strings.HasPrefix(command, "make") && !makefile.Knows(command) {
				t.Errorf("%s: the Makefile has no target of %q", b, command)
			}
		}
	}
	for name, page := range files(t, ".md") {
		for _, command := range doctest.Mentions(page) {
			if !makefile.Knows(command) {
				t.Errorf("%s: the Makefile has no target of %q", name, command)
			}
		}
	}
}

func TestReadmeShowsTheTwoCommandsOfANewcomer(t *testing.T) {
	all, err := doctest.Blocks("README.md", read(t, "README.md"))
	if err != nil || len(all) == 0 {
		t.Fatalf("%d blocks, %v", len(all), err)
	}
	want := []string{"go run ./examples/quickstart", "make test"}
	if got := all[0].Commands(); !slices.Equal(got, want) {
		t.Errorf("README.md begins with %q, want %q", got, want)
	}
}

func TestMakefileKnowsItsTargetsAndWhatTheyRun(t *testing.T) {
	makefile := doctest.ParseMakefile("NAME := x\n.PHONY: unit\nunit: ## tests\n\t@go test ./... && echo ok\n")
	for command, want := range map[string]bool{
		"make":                 true,
		"make unit":            true,
		"make unit COUNT=3":    true,
		"make unit integ":      false,
		"make NAME":            false,
		"go test ./...":        true,
		"go test ./.":          false,
		"go test":              true,
		"go run ./examples/no": false,
		"":                     false,
	} {
		if got := makefile.Knows(command); got != want {
			t.Errorf("Knows(%q) = %v, want %v", command, got, want)
		}
	}
}
