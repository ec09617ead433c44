package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchProcessArgs makes the test binary the process that a benchmark starts.
const benchProcessArgs = "LOA_TEST_BENCH"

// TestBenchProcess is that process, and not a test.
func TestBenchProcess(t *testing.T) {
	args, ok := os.LookupEnv(benchProcessArgs)
	if !ok {
		t.Skip("started by TestBenchmarks")
	}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	run(&env{ctx, os.Stdout, os.Stderr}, strings.Fields(args))
}

func testCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestBenchProcess$")
	cmd.Env = append(os.Environ(), benchProcessArgs+"="+strings.Join(args, " "))
	return cmd, nil
}

// TestBenchmarks runs each in its short form, much smaller still.
func TestBenchmarks(t *testing.T) {
	t.Parallel()
	flags := benchFlags{Short: true, JSON: true}
	for name, c := range map[string]struct {
		command interface{ Run(*env) error }
		figures int
	}{
		"intake": {&benchIntakeCmd{benchFlags: flags, size: &intakeSize{rounds: 1, burst: 20, single: 20}}, 3},
		"feeds": {&benchFeedsCmd{benchFlags: flags, size: &feedsSize{small: 60, large: 120, batch: 50, rounds: 1,
			burst: 20, idle: 2, renders: 2, pause: 20 * time.Millisecond}}, 8},
		"push": {&benchPushCmd{benchFlags: flags, command: testCommand, size: &pushSize{portals: 10, articles: 2, rounds: 1,
			idle: 1, backlog: 2, pairs: 1, behind: 40, withdrawn: 2, waiting: 40, many: 12, rest: time.Second}}, 12},
		"serve": {&benchServeCmd{benchFlags: flags, command: testCommand, size: &serveSize{rounds: 1, single: 1, burst: 20, bursts: 1, sites: 2, alone: true}}, 7},
		"hub":   {&benchHubCmd{benchFlags: flags, command: testCommand, size: &hubSize{hosts: 5, subscribers: 30, rounds: 1}}, 2},
		"media": {&benchMediaCmd{benchFlags: flags, command: testCommand, size: &mediaSize{alone: 1, rounds: 1, pictures: 25, photo: 378, smaller: 8}}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			if err := c.command.Run(&env{t.Context(), &stdout, &stderr}); err != nil {
				t.Fatalf("%v\n%s", err, &stderr)
			}
			lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
			if len(lines) != c.figures {
				t.Errorf("got %d figures, expected %d:\n%s", len(lines), c.figures, &stdout)
			}
			for _, line := range lines {
				checkFigure(t, line)
			}
			if strings.TrimSpace(stderr.String()) == "" {
				t.Error("no progress was shown")
			}
		})
	}
}

func checkFigure(t *testing.T, line string) {
	t.Helper()
	var f map[string]any
	if err := json.Unmarshal([]byte(line), &f); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	keys := slices.Sorted(maps.Keys(f))
	if want := []string{"figure", "floor", "goal", "ratio", "unit", "value"}; !slices.Equal(keys, want) {
		t.Errorf("keys %v, expected %v: %s", keys, want, line)
	}
	for _, key := range []string{"figure", "unit"} {
		if s, _ := f[key].(string); s == "" {
			t.Errorf("no %s: %s", key, line)
		}
	}
	for _, key := range []string{"value", "floor", "ratio", "goal"} {
		v, ok := f[key].(float64)
		// In a second a process may do less than the system counts.
		if ok && (v < 0 || v == 0 && f["unit"] != "% of a core") || !ok && (key == "value" || f[key] != nil) {
			t.Errorf("%s is %v, expected a positive number: %s", key, f[key], line)
		}
	}
	if (f["floor"] == nil) != (f["ratio"] == nil) {
		t.Errorf("a ratio belongs to a floor: %s", line)
	}
}

func TestBenchmarkLeavesNothingBehindWhenInterrupted(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	stderr := writerFunc(func(p []byte) (int, error) { // the first progress
		cancel()
		return len(p), nil
	})
	command := benchIntakeCmd{size: &intakeSize{rounds: 1000, burst: 10, single: 10}}
	err := command.Run(&env{ctx, io.Discard, stderr})
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got error %v, expected that it was interrupted", err)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestFigureShowsWhetherItsGoalWasMet(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]figure{
		"":          {Value: 3},
		"≤ 10 ✓":    figure{Value: 3}.atMost(10),
		"≤ 2 ✗":     figure{Value: 9}.over(3).atMost(2),
		"≤ 1.20 ✓":  figure{Value: 9}.over(9).atMost(1.2),
		"≥ 0.600 ✗": figure{Value: 1}.over(2).noLessThan(0.6),
		"≥ 0.500 ✓": figure{Value: 1}.over(2).noLessThan(0.5),
	} {
		if got := f.verdict(); got != want {
			t.Errorf("%v: got %q, expected %q", fmt.Sprint(f.Value), got, want)
		}
	}
}
