package picture

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// processAlone makes a process the head of a group, which ends with the thread that started it,
// and apart also gives it name spaces of its own, in which there is no network and no other process.
func processAlone(apart bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if apart {
		a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 65534, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 65534, HostID: os.Getgid(), Size: 1}}
	}
	return a
}

// runConfined runs cmd where it sees no files but dir, which is its own, and the system's. It
// reports whether cmd was started at all.
func runConfined(cmd *exec.Cmd, program, dir string) (started bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// What is denied to a thread is denied to all that it starts, and for ever. So the thread
		// ends with this goroutine, which does not unlock it; the main thread could not.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			started, err = runConfined(cmd, program, dir)
			return
		}
		if err = confine(program, dir); err != nil {
			return
		}
		if err = cmd.Start(); err == nil {
			started, err = true, cmd.Wait()
		}
	}()
	<-done
	return started, err
}

// Rights of Landlock's first version, by which files are read, and all that there are.
const (
	readable = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	runnable = readable | unix.LANDLOCK_ACCESS_FS_EXECUTE
	writable = readable | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	every    = 2*unix.LANDLOCK_ACCESS_FS_MAKE_SYM - 1
	// ofFile are those that a file has, which is no directory.
	ofFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
)

// system is what programs need to run: code, how it is linked, devices. Go writes into /proc which
// user a new name space has; of other processes, nothing is to be read there.
var system = map[string]uint64{
	"/usr": runnable, "/bin": runnable, "/lib": runnable, "/lib64": runnable, "/nix/store": runnable,
	"/etc/ld.so.cache": readable, "/etc/ld.so.preload": readable, "/etc/fonts": readable,
	"/proc": writable, "/sys/devices/system/cpu": readable,
	"/dev/null": writable, "/dev/zero": readable, "/dev/random": readable, "/dev/urandom": readable,
}

// confine denies this thread, and what it starts, all files but the system's, program and dir, and
// to open TCP connections, by Landlock (Linux 5.13; connections 6.7). Where the kernel has none,
// nothing is denied.
func confine(program, dir string) error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return nil
	}
	rules := unix.LandlockRulesetAttr{Handled_access_fs: every}
	size := unsafe.Sizeof(rules.Handled_access_fs)
	if version >= 4 {
		rules.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size += unsafe.Sizeof(rules.Handled_access_net)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rules)), size, 0)
	if errno != 0 {
		return fmt.Errorf("make landlock rules: %w", errno)
	}
	defer unix.Close(int(fd))
	for path, rights := range system {
		if err := allow(int(fd), path, rights); err != nil {
			return err
		}
	}
	if err := errors.Join(allow(int(fd), program, runnable), allow(int(fd), dir, every)); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("restrict by landlock: %w", errno)
	}
	return nil
}

// allow adds a rule for what is at and below path; what is not there needs none.
func allow(rules int, path string, rights uint64) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s for landlock: %w", path, err)
	}
	defer unix.Close(at)
	var info unix.Stat_t
	if err := unix.Fstat(at, &info); err != nil {
		return fmt.Errorf("stat %s for landlock: %w", path, err)
	}
	if info.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= ofFile
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(at)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("allow %s by landlock: %w", path, errno)
	}
	return nil
}
