package envoy

import (
	"os/exec"
	"syscall"
)

// bindToParent ends Envoy when Sluice dies without saying so, and keeps a terminal's ^C from it: Sluice drains it first.
func bindToParent(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
