package agent

import (
	"os/exec"
	"syscall"
)

// bindToParent makes the kernel kill the agent when the test ends for any reason.
func bindToParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
