//go:build !linux

package picture

import "syscall"

// processAlone makes a process the head of a group. There are no name spaces to put it into.
func processAlone(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
