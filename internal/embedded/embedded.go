// Package embedded runs a real nats-server and a real S3 server inside this process.
//
// It is what `loa serve` uses where the operator names no NATS or S3 address. Both servers
// keep everything under one directory each, and are reached as external ones would be: NATS
// through nats.go ([NATS.Connect]), S3 over loopback TCP with the keys of [S3.Credentials].
// The rest of Loa cannot tell the difference, and neither can the tests.
//
//	<data>/nats/lock  credentials.json  jetstream/...
//	<data>/s3/lock    credentials.json  buckets/<bucket>/<key>
//
// What either server has acknowledged survives kill -9 and the loss of power: JetStream syncs
// every write, and the S3 server's backend is mended to (see disk).
//
// Several servers may run in one process, each on a directory of its own: nothing here changes
// the working directory or other state of the process, so tests start what they need, in
// parallel if they like.
package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// privateDir is the mode of our directories: only the user that runs Loa reads them.
const privateDir fs.FileMode = 0o700

// Lock is held by the one process that uses a directory.
type Lock struct{ file *os.File }

// LockDir takes the directory for this process, and makes it first if it is not there. The
// lock goes when the process does, however it ends. A second LockDir fails at once, in this
// process too.
func LockDir(dir string) (*Lock, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "lock")
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, privateFile)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		file.Close()
		return nil, fmt.Errorf("lock %s: %w: stop the process that uses it, or choose another data directory", dir, ErrInUse)
	case err != nil:
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return &Lock{file}, nil
}

// ErrInUse says that a directory or an address belongs to somebody else at the moment.
var ErrInUse = errors.New("in use")

// Unlock gives the directory up. The lock file stays: removing it would let two processes
// hold a lock, each on a file of its own.
func (l *Lock) Unlock() {
	// Closing alone would leave the lock with a child process that is just being started.
	unix.Flock(int(l.file.Fd()), unix.LOCK_UN)
	l.file.Close()
}

// makeDir makes dir and its missing parents, for good: a directory whose own entry was not
// synced takes all that is in it along when the power fails.
func makeDir(dir string) error {
	var missing []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || d == filepath.Dir(d) {
			break
		}
		missing = append(missing, d)
	}
	if err := os.MkdirAll(dir, privateDir); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	for _, d := range missing {
		if err := syncPath(filepath.Dir(d)); err != nil {
			return fmt.Errorf("make directory %s: %w", d, err)
		}
	}
	return nil
}

// syncPath has the kernel write the file or directory to stable storage.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// reserve gives the address in full for a host:port whose port may be 0, having made sure
// that one can listen there now. The servers of this package open their sockets themselves and
// tell neither their port nor, in a form to be recognised, what is wrong with an address.
// Somebody else may take the address before the server does; then the server says so.
func reserve(what, listen string) (string, error) {
	l, err := net.Listen("tcp", listen)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return "", fmt.Errorf("%s: listen on %s: address %w: stop what listens there, or choose another address", what, listen, ErrInUse)
	case err != nil:
		return "", fmt.Errorf("%s: listen on %s: %w", what, listen, err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
