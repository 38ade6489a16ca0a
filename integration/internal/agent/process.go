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
	os   *os.Process
	done chan struct{} // closed when it has ended
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
		// On Linux the kernel ends the agent with the thread that started it, so the thread stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.os = cmd.Process
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		a.tb.Fatalf("starting %s: %v", a.binary, err)
	}
	a.process = p
}

// environment is that of the test without what would configure Consul.
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
	_ = p.os.Kill() // fails if it ended by itself
	<-p.done
}

// maxLog bounds what is kept of an agent's log, in bytes.
const maxLog = 256 << 10

// logBuffer keeps the end of a log.
type logBuffer struct {
	mu      sync.Mutex // guards the fields below
	text    []byte
	dropped int // bytes, from the beginning
	started int // where the last start of the agent is, in bytes from the beginning
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

// mark notes that the agent starts here.
func (l *logBuffer) mark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = l.dropped + len(l.text)
}

// sinceStart returns what the agent wrote since it was started last.
func (l *logBuffer) sinceStart() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text[max(l.started-l.dropped, 0):])
}

// String returns what is kept.
func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped == 0 {
		return string(l.text)
	}
	return fmt.Sprintf("[%d bytes left out]%s", l.dropped, l.text)
}
