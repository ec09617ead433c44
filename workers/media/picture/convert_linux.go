package picture

import (
	"os"
	"syscall"
)

// processAlone makes a process the head of a group, and apart also gives it name spaces of its
// own, in which there is no network and no other process.
func processAlone(apart bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if apart {
		a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 65534, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 65534, HostID: os.Getgid(), Size: 1}}
	}
	return a
}
