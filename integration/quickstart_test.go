package integration

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/linkmesh/link/integration/internal/agent"
)

// buildQuickstart returns the quickstart, to be run with the agent at address and nothing else of
// whoever runs the tests.
func buildQuickstart(t *testing.T, address string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "quickstart")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./examples/quickstart")
	build.Dir = ".." // it belongs to the module of the library
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir = dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CONSUL_") || strings.HasPrefix(v, "LINK_")
	})
	cmd.Env = append(cmd.Env, "CONSUL_HTTP_ADDR="+address)
	for variable, name := range map[string]string{
		"TMPDIR": "tmp", "HOME": "home", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config", "XDG_RUNTIME_DIR": "run",
	} {
		own := filepath.Join(dir, name)
		if err := os.Mkdir(own, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, variable+"="+own)
	}
	return cmd
}

// TestTheQuickstartRunsThroughConsul runs what the README shows, and looks at what it leaves behind.
func TestTheQuickstartRunsThroughConsul(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	cmd := buildQuickstart(t, a.Address())
	var report, warnings bytes.Buffer
	cmd.Stdout, cmd.Stderr = &report, &warnings
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, report.String(), warnings.String())
	}
	for _, want := range []string{
		`^link quickstart: .+; registry: Consul at ` + regexp.QuoteMeta(a.Address()) + `\n`,
		`(?m)^   orders +v1 +127\.0\.0\.1:\d+ +orders-\w+$`,
		`(?m)^   orders +v2 +127\.0\.0\.1:\d+ +orders-\w+$`,
		`(?m)^   gateway +- +127\.0\.0\.1:\d+ +gateway-\w+$`,
		// The canary: nine in ten and one in ten.
		`(?m)^   v1 +stable +[89]\d\d +[89]\d\.\d % +90 %$`,
		`(?m)^   v2 +canary +\d+ +1?\d\.\d % +10 %$`,
		// The drain: nobody's call fails, and afterwards v1 gets none.
		`(?m)^   while v1 drains +[\d,]+ +[\d,]+ +[\d,]+ +0$`,
		`(?m)^   after +[\d,]+ +0 +[1-9][\d,]* +0$`,
		`(?m)^   in all +[\d,]+ +[1-9][\d,]* +[1-9][\d,]* +0$`,
		`(?m)^   v1 drained +in \d+ ms, exit status 0$`,
		// The failover: v2 gets what v1 got.
		`(?m)^ +200 +0 +200 +0$`,
		`(?m)^   \|   2 +canary +1 of 1 available +<- picked here`,
		// The subscription and the tasks: nothing is lost with those that go.
		`(?m)^   heard live +of all [1-9][\d,]* orders`,
		`(?m)^   done +all 1,000, after`,
		`(?m)^   found now +nobody$`,
		`(?m)^All 10 steps passed in`,
	} {
		if !regexp.MustCompile(want).MatchString(report.String()) {
			t.Errorf("the report has no line like %s", want)
		}
	}
	if t.Failed() {
		t.Logf("the report:\n%s%s", report.String(), warnings.String())
	}
	onAgent, err := a.Client().Agent().Services()
	if err != nil {
		t.Fatal(err)
	}
	// The mailer that was killed could not withdraw; Consul does that when it has missed its
	// heartbeats for long.
	for id, service := range onAgent {
		if service.Service == "mailer" {
			delete(onAgent, id)
			break
		}
	}
	if len(onAgent) > 0 {
		t.Errorf("the agent still has %v", slices.Sorted(maps.Keys(onAgent)))
	}
	eventually(t, "a catalog without the services of the quickstart", within, func() error {
		all, _, err := a.Client().Catalog().Services(nil)
		if err != nil {
			return err
		}
		delete(all, "consul") // Consul itself
		delete(all, "mailer") // killed, so it could not withdraw
		if len(all) > 0 {
			return fmt.Errorf("it has %v", slices.Sorted(maps.Keys(all)))
		}
		return nil
	})
	if local, err := os.ReadDir(filepath.Join(cmd.Dir, "run")); err != nil || len(local) > 0 {
		t.Errorf("the registry of this machine was used as well: %v, %v", local, err)
	}
}
