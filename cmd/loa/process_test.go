package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest/cluster"
)

// asLoa makes the test binary a loa: tests that kill need processes of their own.
const asLoa = "LOA_TEST_BINARY_IS_LOA"

func TestMain(m *testing.M) {
	cluster.Main()
	if os.Getenv(asLoa) != "" {
		main()
	}
	go startProcesses()
	os.Exit(m.Run())
}

// starts are calls for [startProcesses].
var starts = make(chan func())

// startProcesses starts all children on one thread that lasts: the kernel takes its end for the
// parent's (PR_SET_PDEATHSIG).
func startProcesses() {
	runtime.LockOSThread()
	for start := range starts {
		start()
	}
}

// transcript is everything that a loa printed.
type transcript struct {
	name string
	mu   sync.Mutex
	text bytes.Buffer
}

func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.Write(p)
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.String()
}

// tail is the end of it, for the message of a test that failed.
func (tr *transcript) tail() string {
	const lines = 25
	all := strings.Split(strings.TrimSpace(tr.String()), "\n")
	return strings.Join(all[max(len(all)-lines, 0):], "\n")
}

// process is a loa serve that runs as a child.
type process struct {
	transcript
	cmd   *exec.Cmd
	ended chan struct{} // closed once it has
	// At which addresses it is ready, and how long that took.
	nats, gateway string
	took          time.Duration
}

// patience bounds a wait for what must happen; only a failing test takes so long.
const patience = 60 * time.Second

// startLoa starts loa with the arguments, which have to make it log JSON, and waits until it is
// ready. It dies with the test.
func startLoa(t testing.TB, environment []string, args ...string) *process {
	t.Helper()
	p := launch(t, environment, args...)
	began := time.Now()
	for !p.isReady() {
		select {
		case <-p.ended:
			t.Fatalf("loa %s ended with %v:\n%s", strings.Join(args, " "), p.cmd.ProcessState, p.tail())
		case <-time.After(2 * time.Millisecond):
		}
		if time.Since(began) > patience {
			t.Fatalf("loa %s is not ready after %s:\n%s", strings.Join(args, " "), patience, p.tail())
		}
	}
	p.took = time.Since(began)
	return p
}

// launch starts loa, and does not wait for anything.
func launch(t testing.TB, environment []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], args...), ended: make(chan struct{})}
	p.name = "loa " + strings.Join(args, " ")
	p.cmd.Env = append(append(os.Environ(), asLoa+"=1"), environment...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	starts <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState tells
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *process) isReady() bool {
	text := p.String()
	end := strings.LastIndexByte(text, '\n')
	for line := range strings.Lines(text[:end+1]) {
		var said struct{ Message, NATS, Gateway string }
		if strings.Contains(line, `"ready"`) && json.Unmarshal([]byte(line), &said) == nil && said.Message == "ready" {
			p.nats, p.gateway = said.NATS, strings.TrimSuffix(said.Gateway, "/")
			return true
		}
	}
	return false
}

// signal sends a signal to the child and whatever it may have started.
func (p *process) signal(s syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, s) }

// kill ends it at once.
func (p *process) kill() {
	select {
	case <-p.ended: // its id may be somebody else's by now
	default:
		p.signal(syscall.SIGKILL)
		<-p.ended
	}
}

// terminate asks it to end, and demands that it does so in order, within the grace period.
func (p *process) terminate(t testing.TB, grace time.Duration) {
	t.Helper()
	began := time.Now()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.signal(syscall.SIGQUIT)
		<-p.ended
		t.Fatalf("did not end within %s after SIGTERM:\n%s", patience, p.tail())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after SIGTERM: %v, want exit status 0:\n%s", p.cmd.ProcessState, p.tail())
	}
	took := time.Since(began)
	if took > grace {
		t.Errorf("took %s to end after SIGTERM, the grace period is %s", took, grace)
	}
	t.Logf("ended %.1f s after SIGTERM", took.Seconds())
}

// memory is what it has in use, in MiB.
func (p *process) memory(t testing.TB) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skip(err)
	}
	var kb float64
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	return kb / 1024
}

// freeAddress is an address of loopback that is free now, outside of the ports that the kernel
// gives to others by itself: a process that is started again finds it free again.
func freeAddress(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
}
