package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// benchSinkCmd is the portals of loa bench push, in a process of their own: they take what is
// posted, verify nothing, and answer 200.
//
// Its first line is a [sinkAddresses]. Then it obeys its standard input, a command a line, until
// that ends:
//
//	expect N   counts requests anew; answered "ok", and, when the Nth comes, "at <Unix nanoseconds>"
//	body       answered "body <base64>": the first since expect
type benchSinkCmd struct {
	Portals int `default:"601" help:"Portals that answer."`
	Holes   int `help:"Portals that take connections, and never answer."`
}

// sinkAddresses are host:port of each portal.
type sinkAddresses struct{ Portals, Holes []string }

const (
	// sinkSlowPath is answered after sinkPause, all others at once.
	sinkSlowPath = "/slow"
	sinkPause    = 50 * time.Millisecond
	// sinkIdle is longer than any part of a run.
	sinkIdle = time.Hour
)

func (c *benchSinkCmd) Run(e *env) error { return c.serve(e.stdout, os.Stdin) }

func (c *benchSinkCmd) serve(out io.Writer, in io.Reader) error {
	s := &sink{out: out}
	var where sinkAddresses
	// A connection that is closed just as a bare POST begins fails the run. One that was dialled and
	// has carried nothing yet waits for as long as its first header may take.
	srv := &http.Server{Handler: s, ReadHeaderTimeout: sinkIdle, IdleTimeout: sinkIdle}
	defer srv.Close()
	for range c.Portals {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		where.Portals = append(where.Portals, l.Addr().String())
		go srv.Serve(l) // until Close
	}
	for range c.Holes {
		// The kernel accepts the connections, up to its backlog; nobody reads.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		where.Holes = append(where.Holes, l.Addr().String())
	}
	line, err := json.Marshal(where)
	if err != nil {
		return err
	}
	s.say("%s", line)
	return s.obey(in)
}

type sink struct {
	mu   sync.Mutex // of out, which is written a line at a time
	out  io.Writer
	left atomic.Int64
	body atomic.Pointer[[]byte] // an empty one is to be filled
}

func (s *sink) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *sink) obey(in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		command, arg, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "expect":
			n, err := strconv.ParseInt(arg, 10, 64)
			if err != nil {
				return err
			}
			s.body.Store(&[]byte{})
			s.left.Store(n)
			s.say("ok")
		case "body":
			s.say("body %s", base64.StdEncoding.EncodeToString(*s.body.Load()))
		default:
			return fmt.Errorf("command %q: expected expect or body", command)
		}
	}
	return lines.Err()
}

// ServeHTTP takes one bulletin.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if want := s.body.Load(); want != nil && len(*want) == 0 {
		if data, err := io.ReadAll(r.Body); err == nil {
			s.body.CompareAndSwap(want, &data)
		}
	} else {
		io.Copy(io.Discard, r.Body)
	}
	if s.left.Add(-1) == 0 {
		s.say("at %d", time.Now().UnixNano())
	}
	if r.URL.Path == sinkSlowPath {
		time.Sleep(sinkPause)
	}
	w.WriteHeader(http.StatusOK)
}

// sinkProcess is a sink seen from the process that measures.
type sinkProcess struct {
	sinkAddresses
	*benchProcess
}

// startSink starts a sink that ends with ctx, or when it is closed.
func startSink(ctx context.Context, cmd *exec.Cmd) (*sinkProcess, error) {
	p := &sinkProcess{}
	var err error
	p.benchProcess, err = startBenchProcess(ctx, cmd, "the portals", &p.sinkAddresses)
	return p, err
}

// selfCommand starts this program again.
func selfCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, self, args...), nil
}

// benchProcess is another process of a benchmark.
type benchProcess struct {
	of    string // what it is the process of
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

// startBenchProcess starts a process that ends with ctx, or when it is closed. Its first line is JSON.
func startBenchProcess(ctx context.Context, cmd *exec.Cmd, of string, first any) (_ *benchProcess, err error) {
	p := &benchProcess{of: of, cmd: cmd}
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the process of %s: %w", of, err)
	}
	p.lines = bufio.NewScanner(out)
	p.lines.Buffer(nil, 1<<20)
	line, err := p.next(ctx)
	if err == nil {
		err = json.Unmarshal([]byte(line), first)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("start the process of %s: %w %s", of, err, complaints.Bytes())
	}
	return p, nil
}

func (p *benchProcess) close() {
	p.in.Close()
	_ = p.cmd.Wait() // it ends with its input
}

func (p *benchProcess) next(ctx context.Context) (string, error) {
	if p.lines.Scan() {
		return p.lines.Text(), nil
	}
	return "", errors.Join(ctx.Err(), p.lines.Err(), io.ErrUnexpectedEOF)
}

// ask sends a command and gives the answer, without its first word.
func (p *benchProcess) ask(ctx context.Context, command, answer string) (string, error) {
	if command != "" {
		if _, err := fmt.Fprintln(p.in, command); err != nil {
			return "", fmt.Errorf("talk to the process of %s: %w", p.of, err)
		}
	}
	line, err := p.next(ctx)
	rest, ok := strings.CutPrefix(line, answer)
	if err == nil && !ok {
		err = fmt.Errorf("got %q, expected %q", line, answer)
	}
	if err != nil {
		return "", fmt.Errorf("talk to the process of %s: %w", p.of, err)
	}
	return strings.TrimSpace(rest), nil
}

// expect counts requests anew.
func (p *sinkProcess) expect(ctx context.Context, n int) error {
	_, err := p.ask(ctx, fmt.Sprint("expect ", n), "ok")
	return err
}

// arrived waits for as many requests as were expected, and tells when the last one came.
func (p *sinkProcess) arrived(ctx context.Context) (time.Time, error) {
	at, err := p.ask(ctx, "", "at ")
	if err != nil {
		return time.Time{}, err
	}
	ns, err := strconv.ParseInt(at, 10, 64)
	return time.Unix(0, ns), err
}

// sample is the body of the first request since expect.
func (p *sinkProcess) sample(ctx context.Context) ([]byte, error) {
	body, err := p.ask(ctx, "body", "body ")
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(body)
}
