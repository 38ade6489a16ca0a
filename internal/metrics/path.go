package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The call path is measured with a benchmark of small calls under the profiler. The path is
// the part of a sampled stack from first to the last function of module before one of beyond
// that writes.
const (
	benchmark = "^BenchmarkCall64B1$"
	calls     = "200000x"
	first     = "github.com/linkmesh/link/protocol/reqrep.Call["
	module    = "github.com/linkmesh/link"
	beyond    = "github.com/quic-go/quic-go."
	writes    = "Write"
)

// callPath returns the number of functions and files of the library that a call passes
// through until its request is handed to quic-go.
func callPath(root string) ([]figure, error) {
	dir, err := os.MkdirTemp("", "metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	profile := filepath.Join(dir, "cpu")
	if _, err := goTool(root, "test", "-run", "^$", "-bench", benchmark, "-benchtime", calls, "-o", filepath.Join(dir, "test"), "-cpuprofile", profile, "."); err != nil {
		return nil, err
	}
	traces, err := goTool(root, "tool", "pprof", "-traces", "-lines", profile)
	if err != nil {
		return nil, err
	}
	stack := commonest(traces)
	if stack == nil {
		return nil, errors.New("no call was seen while its request was written")
	}
	files := make(map[string]bool)
	for _, f := range stack {
		files[f.file] = true
	}
	out := []figure{{"functions from reqrep.Call to the transport's write, and files", fmt.Sprintf("%d, %d", len(stack), len(files))}}
	for _, f := range stack {
		out = append(out, figure{"", f.function + "  " + f.file})
	}
	return out, nil
}

func goTool(dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(context.Background(), "go", args...) //nolint:gosec // what callPath says
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s%s", strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// frame is one function of a stack.
type frame struct{ function, file string }

// commonest returns the most frequent call path of all samples, callers first.
func commonest(traces []byte) []frame {
	seen := make(map[string]int)
	stacks := make(map[string][]frame)
	for sample := range strings.SplitSeq(string(traces), "-----------+-") {
		stack := wayOut(sample)
		if stack == nil {
			continue
		}
		key := fmt.Sprint(stack)
		seen[key]++
		stacks[key] = stack
	}
	var best string
	for key, n := range seen {
		if n > seen[best] || n == seen[best] && key < best {
			best = key
		}
	}
	return stacks[best]
}

// wayOut returns the part of a sample's stack from the call to the last function of the
// library before quic-go, callers first, or nil if the stack has no such part.
func wayOut(sample string) []frame {
	// pprof prints callees first. The stack keeps this order until it is reversed.
	var stack []frame
	writing := false
	for line := range strings.Lines(sample) {
		at := strings.Index(line, "github.com/")
		if at < 0 {
			continue
		}
		name, file, _ := strings.Cut(strings.TrimSpace(line[at:]), " ")
		switch {
		case strings.HasPrefix(name, beyond):
			// Drop the functions that quic-go has called. The last of its own was called by the library.
			stack, writing = []frame{}, strings.Contains(name, writes)
		case !writing || stack == nil || !strings.HasPrefix(name, module):
		default:
			file, _, _ = strings.Cut(filepath.Base(file), ":")
			stack = append(stack, frame{strings.TrimPrefix(name, module+"/"), file})
			if strings.HasPrefix(name, first) {
				slices.Reverse(stack)
				return stack
			}
		}
	}
	return nil
}
