// Package wallclock builds programs whose clock on the wall jumps when a test wants it to, while the
// monotonic one goes on: what a kernel does whose time is set. Nothing else about them is
// different, the servers that they embed included.
//
// Go asks the kernel for the time in a way that nothing outside of the process gets between. So
// the program is built with a [time.Now] of ours, by the overlay of go build: everything is built
// anew, which takes minutes the first time.
//
//	c := wallclock.New(t)
//	program := wallclock.Build(t, "github.com/loa-syndication/loa/cmd/loa")
//	cmd.Env = append(cmd.Env, c.Environment())
//	c.Jump(time.Hour)
package wallclock

import (
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The variable that names the file that [Clock] writes, and programs read.
const variable = "LOA_TEST_CLOCK"

//go:embed testdata/jump.go
var jump []byte

// Build builds the program of a package.
func Build(t testing.TB, pkg string) (program string) {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	was, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(was), now) != 1 {
		t.Fatalf("time.Now of %s is not as expected: the overlay has to be made anew", source)
	}
	// Always in the same place, or the next build would find nothing in the cache.
	dir, err := os.UserCacheDir()
	if err == nil {
		dir = filepath.Join(dir, "loa-wallclock")
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(source, "time.go"): write("time.go", []byte(strings.Replace(string(was), now, now+"\tsec += jumped()\n", 1))),
		filepath.Join(source, "jump.go"): write("jump.go", jump),
	}})
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-overlay", write("overlay.json", overlay), "-o", program, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s with a clock that jumps: %v\n%s", pkg, err, out)
	}
	return program
}

// Clock is on the wall of processes that have its environment.
type Clock struct {
	t    testing.TB
	file *os.File
}

// New makes a clock that shows the right time.
func New(t testing.TB) *Clock {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "clock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	c := &Clock{t, f}
	c.Jump(0)
	return c
}

// Environment is what makes a process look at the clock.
func (c *Clock) Environment() string { return variable + "=" + c.file.Name() }

// Jump sets the clock before or behind the right time.
func (c *Clock) Jump(by time.Duration) {
	c.t.Helper()
	var seconds [8]byte
	binary.NativeEndian.PutUint64(seconds[:], uint64(int64(by/time.Second)))
	if _, err := c.file.WriteAt(seconds[:], 0); err != nil {
		c.t.Fatal(err)
	}
}
