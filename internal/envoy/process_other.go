//go:build !linux

package envoy

import "os/exec"

// bindToParent does nothing here: only Linux ends a process with its parent.
func bindToParent(*exec.Cmd) {}
