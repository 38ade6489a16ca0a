//go:build linux || darwin

package deptest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOnlyAFaultOfTheRaceDetectorIsTriedAgain runs the script of CI with a fake go command, which prints what
// go test might print.
func TestOnlyAFaultOfTheRaceDetectorIsTriedAgain(t *testing.T) {
	script, err := filepath.Abs("../../.ci/race")
	if err != nil {
		t.Fatal(err)
	}
	const (
		good  = "ok  \ta\t1s\n"
		crash = "INFO link: node\nThreadSanitizer: CHECK failed: tsan_rtl.cpp:346\nFAIL\tb\t1s\nFAIL\n"
		wrong = "--- FAIL: TestSomething (0.01s)\n    x_test.go:1: wrong\nFAIL\nFAIL\tc\t1s\nFAIL\n"
	)
	for name, c := range map[string]struct {
		// runs holds the output of each run. A run succeeds if a line of its output begins with ok.
		runs []string
		// args holds the arguments of each run.
		args []string
		ok   bool
	}{
		"nothing is wrong":          {[]string{good}, []string{"test -race -p=4 ./..."}, true},
		"a test is wrong":           {[]string{wrong}, []string{"test -race -p=4 ./..."}, false},
		"the detector fails":        {[]string{crash, "ok  \tb\t1s\n"}, []string{"test -race -p=4 ./...", "test -race -p=4 b"}, true},
		"it fails beside a test":    {[]string{wrong + crash}, []string{"test -race -p=4 ./..."}, false},
		"it fails after a test":     {[]string{"--- FAIL: TestSomething (0.01s)\n" + crash}, []string{"test -race -p=4 ./..."}, false},
		"it fails behind a race":    {[]string{"WARNING: DATA RACE\n" + crash}, []string{"test -race -p=4 ./..."}, false},
		"a test is wrong afterward": {[]string{crash, wrong}, []string{"test -race -p=4 ./...", "test -race -p=4 b"}, false},
		"it fails each time":        {[]string{crash, crash, crash}, []string{"test -race -p=4 ./...", "test -race -p=4 b", "test -race -p=4 b"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			stub := "#!/bin/sh\necho \"$*\" >> " + dir + "/args\ncat " + dir + "/run$(wc -l < " + dir + "/args | tr -d ' ')\ngrep -q ^ok " + dir + "/run$(wc -l < " + dir + "/args | tr -d ' ')\n"
			if err := os.WriteFile(filepath.Join(dir, "go"), []byte(stub), 0o700); err != nil {
				t.Fatal(err)
			}
			for i, out := range c.runs {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("run", i+1)), []byte(out), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), script, "-p=4", "./...")
			cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.ok {
				t.Errorf("it ends with %v:\n%s", err, out)
			}
			got, err := os.ReadFile(filepath.Join(dir, "args"))
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Join(c.args, "\n") + "\n"; string(got) != want {
				t.Errorf("it ran\n%swant\n%s", got, want)
			}
		})
	}
}
