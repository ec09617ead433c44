package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/loatest/child"
	"github.com/loa-syndication/loa/internal/loatest/cluster"
	"github.com/loa-syndication/loa/internal/secret"
)

// asLoa makes the test binary a loa: tests that kill need processes of their own.
const asLoa = "LOA_TEST_BINARY_IS_LOA"

func TestMain(m *testing.M) {
	cluster.Main()
	if os.Getenv(asLoa) != "" {
		main()
	}
	// Every Loa of a test has the same key of the portals' secrets, as those on one NATS need.
	os.Setenv("LOA_PORTAL_KEY", secret.NewKey().Reveal())
	loatest.Main(m)
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
	*child.Process
	cmd *exec.Cmd
	// At which addresses it is ready, and how long that took.
	nats, gateway string
	took          time.Duration
}

// patience bounds a wait for what must happen; only a failing test takes so long.
const patience = 60 * time.Second

// startLoa starts loa with the arguments, which have to make it log JSON, and waits until it is
// ready. It dies with the test.
func startLoa(t testing.TB, program string, environment []string, args ...string) *process {
	t.Helper()
	p := launch(t, program, environment, args...)
	began := time.Now()
	for !p.isReady() {
		select {
		case <-p.Ended():
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
func launch(t testing.TB, program string, environment []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(program, args...)}
	p.name = "loa " + strings.Join(args, " ")
	p.cmd.Env = append(append(os.Environ(), asLoa+"=1"), environment...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.Process = child.Start(t, p.cmd)
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

// terminate asks it to end, and demands that it does so in order, within the grace period.
func (p *process) terminate(t testing.TB, grace time.Duration) {
	t.Helper()
	began := time.Now()
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.Ended():
	case <-time.After(patience):
		p.Signal(syscall.SIGQUIT)
		<-p.Ended()
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
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.ID()))
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
