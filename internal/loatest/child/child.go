// Package child runs processes that tests kill, hang and end. They die with the test, also when
// that is killed itself, and while they hang.
package child

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// outputDelay is how long the end of a process waits for what it started to close its output.
const outputDelay = 5 * time.Second

// Process is a child of the test.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// thread takes calls that are to be made on one thread that lasts: the kernel takes its end for
// the parent's (PR_SET_PDEATHSIG).
var thread = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for call := range calls {
			call()
		}
	}()
	return calls
})

// Start starts a command in a process group of its own, which is killed at the test's end.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	cmd.WaitDelay = outputDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	thread() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // ProcessState tells
	}()
	t.Cleanup(p.Kill)
	return p
}

// ID is the process's.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Ended is closed once the process has ended; its state is in the command's ProcessState.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Signal sends a signal to the process and whatever it may have started.
func (p *Process) Signal(s syscall.Signal) {
	select {
	case <-p.ended: // its id may be somebody else's by now
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// Kill ends it at once, and returns when it is gone.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.ended
}

// Pause makes it hang, with its connections open, until Resume.
func (p *Process) Pause() { p.Signal(syscall.SIGSTOP) }

// Resume lets it go on, as if nothing had been.
func (p *Process) Resume() { p.Signal(syscall.SIGCONT) }
