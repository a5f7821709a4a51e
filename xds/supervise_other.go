//go:build !linux

package xds

import "os/exec"

// bindToParent does nothing here: only Linux ends a process with its parent.
func bindToParent(*exec.Cmd) {}
