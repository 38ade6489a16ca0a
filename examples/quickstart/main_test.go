package main_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/exampletest"
)

// announced is the instances that the registry of cmd still holds.
func announced(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	var files []string
	root := filepath.Join(filepath.Dir(cmd.Path), "run")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// temporary is the files that cmd left behind.
func temporary(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(cmd.Path), "link-quickstart-*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestQuickstartShowsWhatItPromises(t *testing.T) {
	cmd := exampletest.Command(t)
	cmd.Env = append(cmd.Env, "LINK_ADDR=:7443", "LINK_ENV=production", "LINK_TAGS=v9", "LINK_ZONE=z9") // they are for other programs
	var report, warnings bytes.Buffer
	cmd.Stdout, cmd.Stderr = &report, &warnings
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, report.String(), warnings.String())
	}
	for _, want := range []string{
		`^link quickstart: .+; registry of this machine: /\S+\n`,
		`(?m)^   orders +v1 +127\.0\.0\.1:\d+ +orders-\w+$`,
		`(?m)^   orders +v2 +127\.0\.0\.1:\d+ +orders-\w+$`,
		`(?m)^   gateway +- +127\.0\.0\.1:\d+ +gateway-\w+$`,
		`(?m)^   v1 +spiffe://dev\.link/ns/quickstart-\w+/svc/orders +TLS 1\.3 +X25519MLKEM768$`,
		`(?m)^   v2 +spiffe://dev\.link/ns/quickstart-\w+/svc/orders +TLS 1\.3 +X25519MLKEM768$`,
		`(?m)^   v1 +stable +[89]\d\d +[89]\d\.\d % +90 %$`,
		`(?m)^   v2 +canary +\d+ +1?\d\.\d % +10 %$`,
		`(?m)^   \| method orders/get from gateway$`,
		`(?m)^   \|   1 +stable +1 of 1 available +<- picked here`,
		`(?m)^ +1 +[\d,]+ +\S+ +0$`,
		`(?m)^ +64 +[\d,]+ +\S+ +0$`,
		`(?m)^   code +not found, by errors\.Is`,
		`(?m)^   detail +order o-999 is unknown, the newest is o-1, by errors\.As`,
		`(?m)^   before +[\d,]+ +[1-9][\d,]* +[1-9][\d,]* +0$`,
		`(?m)^   after +[\d,]+ +0 +[1-9][\d,]* +0$`,
		`(?m)^   v1 drained +in \d+ ms, exit status 0$`,
		`(?m)^   heard live +of all [1-9][\d,]* orders, on one subscription to both: [1-9][\d,]* by v1, [1-9][\d,]* by v2$`,
		`(?m)^ +200 +0 +200 +0$`,
		`(?m)^   \|   1 +stable +0 of \d available$`,
		`(?m)^   \|   2 +canary +1 of 1 available +<- picked here`,
		`(?m)^   pushed +1,000$`,
		`(?m)^   killed +one mailer, with SIGKILL, after \d+ ms$`,
		`(?m)^   begun twice +\d+ receipts`,
		`(?m)^   done +all 1,000, after`,
		`(?m)^   gateway drained +in \d+ ms, exit status 0$`,
		`(?m)^   orders v2 drained +in \d+ ms, exit status 0$`,
		`(?m)^   found now +nobody$`,
		`(?m)^   shop drained +in \d+ ms, exit status 0$`,
		`(?m)^   sent +400 receipts; none is lost$`,
		`(?m)^All 10 steps passed in`,
	} {
		if !regexp.MustCompile(want).MatchString(report.String()) {
			t.Errorf("the report has no line like %s", want)
		}
	}
	if t.Failed() {
		t.Log(report.String())
	}
	if files := temporary(t, cmd); len(files) > 0 {
		t.Errorf("left behind are %v", files)
	}
	if files := announced(t, cmd); len(files) > 0 {
		t.Errorf("still announced: %v", files)
	}
}

// TestQuickstartSaysAtOnceThatConsulIsNotThere, not after all the time that it may take.
func TestQuickstartSaysAtOnceThatConsulIsNotThere(t *testing.T) {
	cmd := exampletest.Command(t)
	cmd.Env = append(cmd.Env, "CONSUL_HTTP_ADDR=127.0.0.1:1") // nobody has that port
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit status %d, want 1, %v", cmd.ProcessState.ExitCode(), err)
	}
	if text := string(out); !strings.Contains(text, "quickstart: Consul at 127.0.0.1:1 cannot be read") || !strings.Contains(text, "connection refused") || strings.Contains(text, "1. Discovery") {
		t.Errorf("it does not say what is wrong before it begins:\n%s", out)
	}
}

func TestQuickstartSaysWhichStepFailed(t *testing.T) {
	cmd := exampletest.Command(t)
	cmd.Env = append(cmd.Env, "GODEBUG=tlsmlkem=0") // nobody offers the hybrid key exchange
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit status %d, want 1, %v", cmd.ProcessState.ExitCode(), err)
	}
	if !strings.Contains(string(out), "quickstart: step 2 of 10 failed (Identity") {
		t.Errorf("it does not say what failed:\n%s", out)
	}
	if files := announced(t, cmd); len(files) > 0 {
		t.Errorf("still announced: %v", files)
	}
}

// TestServicesEndWithTheQuickstart ends it in the middle. The services write to
// the same standard error, so it ends when the last of them has ended.
func TestServicesEndWithTheQuickstart(t *testing.T) {
	for name, signal := range map[string]os.Signal{"interrupted": os.Interrupt, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			cmd := exampletest.Command(t)
			var warnings bytes.Buffer
			cmd.Stderr = &warnings
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			report := readUntil(t, stdout, "4. Speed")
			if files := temporary(t, cmd); len(files) != 1 {
				t.Errorf("temporary files are %v, want that of the topology", files)
			}
			if files := announced(t, cmd); len(files) != 3 {
				t.Errorf("announced are %v, want three services", files)
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(stdout)
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Errorf("it succeeded:\n%s%s", report, rest)
			}
			if files := announced(t, cmd); len(files) > 0 {
				t.Errorf("still announced: %v\n%s", files, warnings.String())
			}
			if files := temporary(t, cmd); name == "interrupted" && len(files) > 0 {
				t.Errorf("left behind are %v", files)
			}
			if name == "interrupted" && !strings.Contains(warnings.String(), "step 4 of 10 failed (Speed") {
				t.Errorf("it does not say what was interrupted: %s", warnings.String())
			}
		})
	}
}

// readUntil reads until text has come.
func readUntil(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(all.String(), text) {
		n, err := r.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v before %q:\n%s", err, text, all.String())
		}
	}
	return all.String()
}
