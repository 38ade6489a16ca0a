//go:build unix

package child

import "syscall"

// Freeze stops the process until Thaw. Its sockets still receive packets, but it does not read them.
func (p *Process) Freeze() {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.tb.Fatal(err)
	}
}

// Thaw continues a process that Freeze stopped.
func (p *Process) Thaw() {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		p.tb.Fatal(err)
	}
}
