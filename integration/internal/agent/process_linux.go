package agent

import (
	"os/exec"
	"syscall"
)

// bindToParent lets the kernel end the agent with the test, however that ends.
func bindToParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
