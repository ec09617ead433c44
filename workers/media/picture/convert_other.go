//go:build !linux

package picture

import (
	"os/exec"
	"syscall"
)

// processAlone makes a process the head of a group. There are no name spaces to put it into.
func processAlone(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// runConfined runs cmd, which cannot be confined here. It reports whether it was started at all.
func runConfined(cmd *exec.Cmd, _, _ string) (started bool, err error) {
	if err := cmd.Start(); err != nil {
		return false, err
	}
	return true, cmd.Wait()
}
