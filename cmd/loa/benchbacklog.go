package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/bulletins"
)

// withdrawal measures how soon portals learn of a withdrawal while a backlog waits for each.
func (pb *pushBench) withdrawal() error {
	portals := pb.all(sinkSlowPath, 0)
	s, err := pb.stack("withdrawal", portals, pb.fault)
	if err != nil {
		return err
	}
	defer s.close()
	shown := pb.articles(pb.size.withdrawn)
	err = during(pb.ctx, func(ctx context.Context) error {
		// What is to be withdrawn was delivered before.
		done := s.delivered.expect(len(shown) * len(portals))
		for _, a := range shown {
			if _, err := s.log.Put(ctx, a, 0); err != nil {
				return err
			}
		}
		_, err := await(ctx, done, "bulletins were pushed")
		return err
	}, s.push, s.router.Run)
	if err != nil {
		return err
	}
	if err := during(pb.ctx, func(ctx context.Context) error { return pb.raiseBacklog(ctx, s) }, s.router.Run); err != nil {
		return err
	}
	var took []float64
	pushing := s.delivered.expect(len(portals))
	err = during(pb.ctx, func(ctx context.Context) error {
		if _, err := await(ctx, pushing, "bulletins of the backlog were pushed"); err != nil {
			return err
		}
		for _, a := range shown {
			t, err := pb.withdraw(ctx, s, a)
			if err != nil {
				return err
			}
			pb.say("withdrawn at the last portal after %.0f ms", slices.Max(t))
			took = append(took, t...)
		}
		left, err := s.waiting(ctx)
		if err != nil {
			return err
		}
		pb.say("%d articles withdrawn; %d flags still wait", len(shown), left)
		if left == 0 {
			return fmt.Errorf("the backlog was gone before the last withdrawal: it was too small to measure anything")
		}
		return nil
	}, s.push, s.router.Run)
	if err != nil {
		return err
	}
	return pb.report(figure{Figure: fmt.Sprintf("withdrawal behind a backlog of %d articles to %d portals, 99 %% of them", pb.size.behind, len(portals)),
		Value: quantile(took, 0.99), Unit: "ms"}.atMost(5000))
}

// waiting counts the flags that are not lowered, by what their readers know: to list millions of them
// would take the server as long as what is measured.
func (s *pushStack) waiting(ctx context.Context) (uint64, error) {
	stream, err := s.js.Stream(ctx, streams.Flags)
	if err != nil {
		return 0, err
	}
	var n uint64
	consumers := stream.ListConsumers(ctx)
	for c := range consumers.Info() {
		if strings.HasPrefix(c.Name, bulletins.Kind+"-") {
			n += c.NumPending + uint64(c.NumAckPending)
		}
	}
	return n, consumers.Err()
}

// raiseBacklog writes articles, of which the router has every portal told.
func (pb *pushBench) raiseBacklog(ctx context.Context, s *pushStack) error {
	for i, a := range pb.articles(pb.size.behind) {
		if _, err := s.log.Put(ctx, a, 0); err != nil {
			return err
		}
		if i > 0 && i%1000 == 0 {
			pb.say("%d of %d articles of the backlog written", i, pb.size.behind)
		}
	}
	for {
		c, err := streams.RouterConsumer(ctx, s.js)
		if err != nil {
			return err
		}
		info, err := c.Info(ctx)
		if err != nil {
			return err
		}
		if info.NumPending == 0 && info.NumAckPending == 0 {
			return nil
		}
		if err := sleep(ctx, levelEvery); err != nil {
			return err
		}
	}
}

// withdraw gives how many milliseconds each portal took to learn of it.
func (pb *pushBench) withdraw(ctx context.Context, s *pushStack, a *article.Article) ([]float64, error) {
	gone := *a
	gone.Version.Number++
	gone.Status, gone.Summary, gone.Body = events.StatusWithdrawn, "", ""
	gone.Withdrawal = &events.BulletinWithdrawal{Reason: "Lịch đã đổi.", WithdrawnAt: a.Updated}
	key := streams.KeyOf(a.Site, a.ID)
	before, err := s.log.Latest(ctx, key)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.watched, s.arrived = string(key), map[string]time.Time{}
	s.mu.Unlock()
	began := time.Now()
	if _, err := s.log.Put(ctx, &gone, before.Seq); err != nil {
		return nil, err
	}
	for {
		s.mu.Lock()
		n := len(s.arrived)
		s.mu.Unlock()
		if n == len(pb.sink.Portals) {
			break
		}
		if time.Since(began) > benchPatience {
			return nil, fmt.Errorf("%d of %d portals know of the withdrawal after %s", n, len(pb.sink.Portals), benchPatience)
		}
		if err := sleep(ctx, levelEvery); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var took []float64
	for _, at := range s.arrived {
		took = append(took, ms(at.Sub(began)))
	}
	return took, nil
}

// process measures what a loa serve takes that does nothing, and one that has to wait.
func (pb *pushBench) process() error {
	counts := []int{pb.size.portals}
	if pb.size.many > 0 {
		counts = append(counts, pb.size.many)
	}
	for _, n := range counts {
		if err := pb.atRest(n); err != nil {
			return err
		}
	}
	return nil
}

// memoryGoal and idleGoal are what it may take with 601 portals: bytes with the flags waiting,
// and per cent of one core with nothing to do.
const (
	memoryGoal = 256
	idleGoal   = 5
)

func (pb *pushBench) atRest(portals int) error {
	p, err := pb.serve(portals)
	if err != nil {
		return err
	}
	defer p.close()
	usual := portals == pb.size.portals
	// What the start has left to do is done before.
	if err := sleep(pb.ctx, pb.size.rest); err != nil {
		return err
	}
	cpu, _, err := p.use()
	if err != nil {
		return err
	}
	if err := sleep(pb.ctx, pb.size.rest); err != nil {
		return err
	}
	after, memory, err := p.use()
	if err != nil {
		return err
	}
	idle := figure{Figure: fmt.Sprintf("idle processor time with %d portals", portals), Value: 100 * (after - cpu) / pb.size.rest.Seconds(), Unit: "% of a core"}
	if usual {
		idle = idle.atMost(idleGoal)
	}
	if err := pb.report(idle); err != nil {
		return err
	}
	if err := pb.report(figure{Figure: fmt.Sprintf("memory at rest with %d portals", portals), Value: memory, Unit: "MiB"}); err != nil {
		return err
	}
	if !usual {
		return nil
	}
	n, err := p.pile(pb)
	if err != nil {
		return err
	}
	if err := sleep(pb.ctx, pb.size.rest); err != nil {
		return err
	}
	if _, memory, err = p.use(); err != nil {
		return err
	}
	return pb.report(figure{Figure: fmt.Sprintf("memory with %d waiting pairs of article and portal, all portals down", n), Value: memory, Unit: "MiB"}.atMost(memoryGoal))
}

// served is a loa serve in a process of its own.
type served struct {
	pid   int
	dir   string
	close func()
}

// serve starts one, whose portals refuse every connection.
func (pb *pushBench) serve(portals int) (*served, error) {
	dir := filepath.Join(pb.dir, fmt.Sprintf("serve-%d", portals))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "data: %s\nlisten: 127.0.0.1:0\npublic_url: http://127.0.0.1/\nnats: {listen: \"127.0.0.1:0\"}\nlog: {level: warn}\nsites:\n", strconv.Quote(filepath.Join(dir, "data")))
	for _, s := range sample.Sites() {
		fmt.Fprintf(&cfg, "  - {id: %s, name: %s, parent: %q, url: %q}\n", s.ID, strconv.Quote(s.Name), s.Parent, s.URL)
	}
	cfg.WriteString("portals:\n")
	for i := range portals {
		fmt.Fprintf(&cfg, "  - {name: cong-%04d, url: \"http://127.0.0.1:%d/\", secret: %s, allow: [127.0.0.0/8]}\n", i, closedPort, events.NewSecret())
	}
	file := filepath.Join(dir, "loa.yaml")
	if err := os.WriteFile(file, []byte(cfg.String()), 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(pb.ctx)
	cmd, err := pb.command(ctx, "serve", "--config", file)
	if err != nil {
		cancel()
		return nil, err
	}
	var said strings.Builder
	cmd.Stderr = &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = benchPatience
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start loa serve: %w", err)
	}
	p := &served{pid: cmd.Process.Pid, dir: filepath.Join(dir, "data"), close: func() {
		cancel()
		_ = cmd.Wait() // it is told to end
	}}
	began := time.Now()
	for {
		if s, err := (&client{Data: &p.dir}).connect(pb.ctx); err == nil {
			s.close()
			pb.say("loa serve with %d portals started in %.1f s", portals, time.Since(began).Seconds())
			return p, nil
		}
		if err := sleep(pb.ctx, levelEvery); err != nil || time.Since(began) > benchPatience {
			p.close()
			return nil, fmt.Errorf("loa serve did not start: %s", said.String())
		}
	}
}

// closedPort is above those that [outbound.CheckURL] refuses, and below those that are given to
// connections.
const closedPort = 1024

// use gives the processor time, in seconds, and the resident memory, in MiB.
func (p *served) use() (cpu, memory float64, err error) {
	proc, err := procfs.NewProc(p.pid)
	if err != nil {
		return 0, 0, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0, 0, err
	}
	return stat.CPUTime(), float64(stat.ResidentMemory()) / (1 << 20), nil
}

// pile writes articles until so many flags wait, and gives how many do.
func (p *served) pile(pb *pushBench) (int, error) {
	s, err := (&client{Data: &p.dir}).connect(pb.ctx)
	if err != nil {
		return 0, err
	}
	defer s.close()
	n := (pb.size.waiting + pb.size.portals - 1) / pb.size.portals
	for _, a := range pb.articles(n) {
		if _, err := s.log.Put(pb.ctx, a, 0); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	for {
		waiting, err := reconcile.CountWaiting(pb.ctx, s.js, bulletins.Kind, nil)
		if err != nil {
			return 0, err
		}
		flags := 0
		for _, w := range waiting {
			flags += w.Flags
		}
		if flags == n*pb.size.portals {
			pb.say("%d flags wait", flags)
			return flags, nil
		}
		if time.Since(began) > benchPatience {
			return 0, fmt.Errorf("%d of %d flags are up after %s", flags, n*pb.size.portals, benchPatience)
		}
		if err := sleep(pb.ctx, 20*levelEvery); err != nil {
			return 0, err
		}
	}
}
