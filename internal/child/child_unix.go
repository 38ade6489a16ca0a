//go:build unix

package child

import "syscall"

// Freeze stops the process, until Thaw: its socket takes packets, and nobody reads them.
func (p *Process) Freeze() {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.tb.Fatal(err)
	}
}

// Thaw lets a process that was frozen go on.
func (p *Process) Thaw() {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		p.tb.Fatal(err)
	}
}
