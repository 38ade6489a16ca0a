package agent

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
)

// process is a running agent.
type process struct {
	os *os.Process
	// done is closed when the process has ended.
	done chan struct{}
}

// launch starts the process of the agent.
func (a *Agent) launch() {
	a.tb.Helper()
	args, err := a.settings.write(a.dir)
	if err != nil {
		a.tb.Fatal(err)
	}
	a.logs.mark()
	cmd := exec.Command(a.binary, args...) //nolint:gosec,noctx // the binary is the one under test, and kill ends it
	cmd.Stdout, cmd.Stderr = a.logs, a.logs
	cmd.Env = environment()
	bindToParent(cmd)
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// On Linux the kernel kills the agent when the thread that started it exits, so keep the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.os = cmd.Process
		started <- err
		if err == nil {
			// The log of the agent tells how it ended.
			_ = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		a.tb.Fatalf("starting %s: %v", a.binary, err)
	}
	a.process = p
}

// environment returns the environment of the test without the variables that would configure Consul.
func environment() []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "CONSUL_") {
			env = append(env, pair)
		}
	}
	return env
}

func (p *process) kill() {
	// Kill fails if the process ended by itself.
	_ = p.os.Kill()
	<-p.done
}

// maxLog is how much of the end of an agent's log is kept, in bytes.
const maxLog = 256 << 10

// logBuffer keeps the end of a log.
type logBuffer struct {
	mu   sync.Mutex // guards the fields below
	text []byte
	// dropped is the number of bytes removed from the beginning.
	dropped int
	// started is the offset of the agent's last start, in bytes from the beginning of the whole log.
	started int
}

// Write implements io.Writer.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if excess := len(l.text) - maxLog; excess > 0 {
		l.text = append(l.text[:0], l.text[excess:]...)
		l.dropped += excess
	}
	return len(p), nil
}

// mark records the end of the log as the point where the agent starts.
func (l *logBuffer) mark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = l.dropped + len(l.text)
}

// sinceStart returns the log since the last start of the agent.
func (l *logBuffer) sinceStart() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text[max(l.started-l.dropped, 0):])
}

// String returns the kept part of the log and says how many bytes were dropped.
func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped == 0 {
		return string(l.text)
	}
	return fmt.Sprintf("[%d bytes left out]%s", l.dropped, l.text)
}
