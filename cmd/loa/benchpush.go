package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/bulletins"
	"github.com/loa-syndication/loa/workers/router"
)

type benchPushCmd struct {
	benchFlags
	Only    []string  `placeholder:"PART" enum:"pushes,isolation,withdrawal,rest" help:"Measure these parts alone: pushes, isolation, withdrawal, rest (memory, and processor time with nothing to do)."`
	Behind  int       `hidden:"" placeholder:"N" help:"Articles that wait for every portal when one is withdrawn."`
	size    *pushSize // tests set it
	command func(ctx context.Context, args ...string) (*exec.Cmd, error)
}

// Help is shown by loa bench push --help.
func (*benchPushCmd) Help() string {
	return benchHelp + `

The portals are 601 addresses of another process that verifies nothing and answers 200.
Bulletins have 4 KB. Sustained is from the raising of the first flag to the receipt of
the last bulletin on disk; the floor is a loop that does nothing but sign and POST the
same bulletins, as many at once, over connections kept alive, with net/http and the
library of Standard Webhooks. To idle portals, the time is that from the write to the
log until the last portal has the bulletin. Isolation: the portals answer after 50 ms, a
tenth or half of them never, and what is compared is the 99th percentile of the others'
bulletins, from the moment at which all were due. A withdrawal is timed from the write to
the log until the portal has it, while a backlog is being pushed. Memory and idle
processor time are those of a loa serve.`
}

// pushSize is how much is measured.
type pushSize struct {
	portals  int
	articles int // in a sustained round, to each portal
	rounds   int
	idle     int // single articles
	backlog  int // articles at once, where some portals are dead
	pairs    int // of rounds with and without dead portals
	behind   int // articles in the backlog that a withdrawal overtakes
	// withdrawn is how many articles are withdrawn during it.
	withdrawn int
	waiting   int           // flags that wait while memory is measured
	many      int           // portals, beside the usual number
	rest      time.Duration // for which idle processor time is measured
}

var (
	pushFull = pushSize{portals: 601, articles: 30, rounds: 7, idle: 40, backlog: 20, pairs: 5,
		behind: 10_000, withdrawn: 5, waiting: 100_000, many: 5000, rest: 15 * time.Second}
	pushShort = pushSize{portals: 601, articles: 8, rounds: 5, idle: 5, backlog: 4, pairs: 2,
		behind: 300, withdrawn: 2, waiting: 20_000, rest: 3 * time.Second}
)

const (
	// bulletinBytes is the size of a bulletin, about.
	bulletinBytes = 4 << 10
	// deadTimeout is the portals' time-out in these rounds.
	deadPortalTimeout = 2 * time.Second
	// benchDrain is the time for what is under way at the end of a round: it would be that of
	// dead portals.
	benchDrain = 100 * time.Millisecond
)

func (c *benchPushCmd) Run(e *env) error {
	size := pushFull
	if c.Short {
		size = pushShort
	}
	if c.size != nil {
		size = *c.size
	}
	if c.Behind > 0 {
		size.behind = c.Behind
	}
	command := selfCommand
	if c.command != nil {
		command = c.command
	}
	return c.run(e, func(b *bench) error {
		cmd, err := command(b.ctx, "bench", "sink", fmt.Sprint("--portals=", size.portals), fmt.Sprint("--holes=", size.portals/2))
		if err != nil {
			return err
		}
		to, err := startSink(b.ctx, cmd)
		if err != nil {
			return err
		}
		defer to.close()
		pb := &pushBench{bench: b, size: size, sink: to, command: command}
		for _, part := range []struct {
			name    string
			measure func() error
		}{
			{"pushes", pb.alone},
			{"isolation", func() error { return pb.isolation(10, 1.2) }},
			{"isolation", func() error { return pb.isolation(2, 1.5) }},
			{"withdrawal", pb.withdrawal},
			{"rest", pb.process},
		} {
			if len(c.Only) > 0 && !slices.Contains(c.Only, part.name) {
				continue
			}
			if err := part.measure(); err != nil {
				return err
			}
		}
		return nil
	})
}

type pushBench struct {
	*bench
	size    pushSize
	sink    *sinkProcess
	command func(ctx context.Context, args ...string) (*exec.Cmd, error)
	made    int // articles
}

// pushStack is a city whose articles all portals want, and all that pushes them.
type pushStack struct {
	*backbone
	log      *streams.Log
	portals  *portal.Registry
	receipts *portal.Receipts
	worker   *bulletins.Worker
	// engine makes the one that pushes; each runs once.
	engine    func(context.Context) (*reconcile.Engine, error)
	router    *router.Router
	delivered tally

	mu    sync.Mutex
	since time.Time // of took
	took  map[string][]float64
	// watched is when each portal had the article of this key.
	watched string
	arrived map[string]time.Time
}

func (pb *pushBench) stack(name string, portals []portal.Portal, failed func(string, error)) (_ *pushStack, err error) {
	s := &pushStack{took: map[string][]float64{}}
	if s.backbone, err = pb.backbone(name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	tree, err := sampleTree()
	if err != nil {
		return nil, err
	}
	if s.log, err = streams.OpenLog(pb.ctx, s.js); err != nil {
		return nil, err
	}
	if s.portals, err = portal.Open(pb.ctx, s.js, tree, nil, zerolog.Nop()); err != nil {
		return nil, err
	}
	if err = s.portals.Apply(pb.ctx, portals, "bench"); err != nil {
		return nil, err
	}
	if s.receipts, err = portal.OpenReceipts(pb.ctx, s.js); err != nil {
		return nil, err
	}
	// A line of the log for each bulletin is part of the work.
	log := zerolog.New(io.Discard).With().Timestamp().Logger()
	metrics := prometheus.NewRegistry()
	s.worker, err = bulletins.New(bulletins.Options{JS: s.js, Articles: s.log, Portals: s.portals, Receipts: s.receipts, Tree: tree,
		MediaBase: "https://loa.example/", Version: version(), Log: log, Metrics: metrics})
	if err != nil {
		return nil, err
	}
	s.router, err = router.New(router.Options{JS: s.js, Log: log, Metrics: metrics,
		Kinds: map[string]router.Concerned{bulletins.Kind: s.portals.Concerned},
		Own:   func(_, portal string) bool { return s.portals.Waits(portal) }})
	if err != nil {
		return nil, err
	}
	s.engine = func(ctx context.Context) (*reconcile.Engine, error) {
		return reconcile.New(ctx, s.js, reconcile.Options{Kind: bulletins.Kind, Limits: s.worker.Limits, Targets: s.portals.Names,
			Reconciler: observed{Reconciler: s.worker, done: s.ran, failed: failed}, Workers: portalWorkers, Grace: benchDrain, OnState: s.worker.OnState, Gained: s.worker.Gained,
			Log: log, Metrics: prometheus.NewRegistry()})
	}
	return s, err
}

// push pushes until ctx ends.
func (s *pushStack) push(ctx context.Context) error {
	e, err := s.engine(ctx)
	if err != nil {
		return err
	}
	return e.Run(ctx)
}

func (s *pushStack) ran(target string, flags []reconcile.Flag) {
	now := time.Now()
	s.mu.Lock()
	s.took[target] = append(s.took[target], ms(now.Sub(s.since)))
	if s.watched != "" && slices.ContainsFunc(flags, func(f reconcile.Flag) bool { return f.Key == s.watched }) {
		s.arrived[target] = now
	}
	s.mu.Unlock()
	s.delivered.add(len(flags))
}

// close takes down what was made so far.
func (s *pushStack) close() {
	if s.worker != nil {
		s.worker.Close()
	}
	if s.receipts != nil {
		s.receipts.Close()
	}
	if s.portals != nil {
		s.portals.Close()
	}
	s.backbone.close()
}

func (pb *pushBench) all(path string, timeout time.Duration) []portal.Portal {
	var all []portal.Portal
	for i, address := range pb.sink.Portals {
		all = append(all, portal.Portal{Name: fmt.Sprintf("cong-%03d", i), URL: "http://" + address + path, Timeout: timeout,
			Secrets: []portal.Secret{portal.Secret(events.NewSecret())},
			Allow:   []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	}
	return all
}

// articles makes articles that were not there before, with bulletins of the right size.
func (pb *pushBench) articles(n int) []*article.Article {
	var all []*article.Article
	for in := range sample.Many(n) {
		pb.made++
		in.ID = fmt.Sprintf("bench-%06d", pb.made)
		a := logged(in)
		const others = 1 << 10 // bytes of what a bulletin says beside the summary
		a.Summary = strings.Repeat("Trạm y tế phường tiêm nhắc cho trẻ. ", (bulletinBytes-others)/44)
		all = append(all, a)
	}
	return all
}

// alone measures with portals that are all well.
func (pb *pushBench) alone() error {
	portals := pb.all("/", 0)
	s, err := pb.stack("push", portals, pb.fault)
	if err != nil {
		return err
	}
	defer s.close()
	bare, own := newBareLoop(portals), newOwnLoop(portals)
	defer bare.close()
	defer own.close()
	return during(pb.ctx, func(ctx context.Context) error {
		if err := pb.sustained(ctx, s, bare, own); err != nil {
			return err
		}
		return pb.idle(ctx, s, bare)
	}, s.push)
}

// sustained measures how many bulletins a second are pushed.
func (pb *pushBench) sustained(ctx context.Context, s *pushStack, bare, own *bareLoop) error {
	n := pb.size.articles * pb.size.portals
	var rates, floors, owns, spent, floorSpent []float64
	for round := 0; pb.more(len(rates), pb.size.rounds, shortFirst); round++ {
		before := processorTime()
		rate, err := pb.push(ctx, s, pb.size.articles)
		pushing := processorTime() - before
		if err != nil {
			return err
		}
		if bare.body, err = pb.sink.sample(ctx); err != nil {
			return err
		}
		before = processorTime()
		took, err := bare.post(ctx, n)
		if err != nil {
			return err
		}
		posting := processorTime() - before
		floor := float64(n) / took.Seconds()
		own.body = bare.body
		if took, err = own.post(ctx, n); err != nil {
			return err
		}
		if round == 0 {
			pb.say("warmed up with %d bulletins of %d bytes", n, len(bare.body))
			continue // connections were made
		}
		pb.say("round %d of %d: %.0f pushes/s, floor %.0f/s", round, pb.size.rounds, rate, floor)
		rates, floors, owns = append(rates, rate), append(floors, floor), append(owns, float64(n)/took.Seconds())
		spent, floorSpent = append(spent, us(pushing)/float64(n)), append(floorSpent, us(posting)/float64(n))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.Join(pb.report(figure{Figure: fmt.Sprintf("bulletins pushed to %d portals, sustained", pb.size.portals),
		Value: median(rates), Unit: "pushes/s"}.over(median(floors)).noLessThan(0.6)),
		pb.report(figure{Figure: "the same (floor: a loop with Loa's own client and signing)", Value: median(rates), Unit: "pushes/s"}.over(median(owns))),
		pb.report(figure{Figure: "processor time of one push, NATS included", Value: median(spent), Unit: "us"}.over(median(floorSpent))))
}

// push has articles pushed to all portals, and gives the rate.
func (pb *pushBench) push(ctx context.Context, s *pushStack, articles int) (float64, error) {
	n := articles * pb.size.portals
	if err := pb.sink.expect(ctx, n); err != nil {
		return 0, err
	}
	began, done, err := pb.due(ctx, s, articles)
	if err != nil {
		return 0, err
	}
	end, err := await(ctx, done, "bulletins were pushed")
	if err != nil {
		return 0, err
	}
	if _, err := pb.sink.arrived(ctx); err != nil {
		return 0, err
	}
	return float64(n) / end.Sub(began).Seconds(), nil
}

// due writes articles, and raises their flags for all portals. It gives the moment before the
// first flag, and where the end is told.
func (pb *pushBench) due(ctx context.Context, s *pushStack, articles int) (time.Time, <-chan time.Time, error) {
	var flags []reconcile.Flag
	pairs := 0
	for _, a := range pb.articles(articles) {
		seq, err := s.log.Put(ctx, a, 0)
		if err != nil {
			return time.Time{}, nil, err
		}
		e := streams.Entry{Article: a, Key: streams.KeyOf(a.Site, a.ID), Seq: seq}
		names, err := s.portals.Concerned(ctx, e)
		if err != nil {
			return time.Time{}, nil, err
		}
		flags = append(flags, reconcile.FlagsFor(bulletins.Kind, names, s.portals.Waits, e)...)
		pairs += len(names)
	}
	done := s.delivered.expect(pairs)
	s.mu.Lock()
	began := time.Now()
	s.since = began
	clear(s.took)
	s.mu.Unlock()
	return began, done, reconcile.Raise(ctx, s.js, flags)
}

// idle measures how long one article takes to the last portal, when there is nothing else.
func (pb *pushBench) idle(ctx context.Context, s *pushStack, bare *bareLoop) error {
	if err := skip(ctx, s.js, pb.made); err != nil { // the flags of those were raised without the router
		return err
	}
	var took, stored, floors []float64
	work := func(ctx context.Context) error {
		for range pb.size.idle {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := pb.sink.expect(ctx, pb.size.portals); err != nil {
				return err
			}
			a := pb.articles(1)[0]
			done := s.delivered.expect(pb.size.portals)
			began := time.Now()
			if _, err := s.log.Put(ctx, a, 0); err != nil {
				return err
			}
			last, err := pb.sink.arrived(ctx)
			if err != nil {
				return err
			}
			end, err := await(ctx, done, "bulletins were pushed")
			if err != nil {
				return err
			}
			if err := pb.sink.expect(ctx, pb.size.portals); err != nil {
				return err
			}
			bareBegan := time.Now()
			if _, err := bare.post(ctx, pb.size.portals); err != nil {
				return err
			}
			bareLast, err := pb.sink.arrived(ctx)
			if err != nil {
				return err
			}
			took, stored = append(took, ms(last.Sub(began))), append(stored, ms(end.Sub(began)))
			floors = append(floors, ms(bareLast.Sub(bareBegan)))
		}
		return nil
	}
	if err := during(ctx, work, s.router.Run); err != nil {
		return err
	}
	pb.say("%d articles to idle portals; receipts on disk after %.0f ms", len(took), median(stored))
	return pb.report(figure{Figure: fmt.Sprintf("one article to the last of %d idle portals", pb.size.portals),
		Value: median(took), Unit: "ms"}.over(median(floors)).atMost(2))
}

// isolation measures what portals that never answer, one in so many, cost the others.
func (pb *pushBench) isolation(oneIn int, goal float64) error {
	var with, without []float64
	for pair := 0; pb.more(pair, pb.size.pairs, shortLast); pair++ {
		for _, dead := range []bool{false, true} {
			p99, err := pb.isolated(fmt.Sprintf("isolation-%d-%d-%t", oneIn, pair, dead), oneIn, dead)
			if err != nil {
				return err
			}
			if dead {
				with = append(with, p99)
			} else {
				without = append(without, p99)
			}
		}
		pb.say("pair %d of %d: p99 %.0f ms where 1 in %d never answers, %.0f ms where all do", pair+1, pb.size.pairs, with[pair], oneIn, without[pair])
	}
	if err := pb.ctx.Err(); err != nil {
		return err
	}
	return pb.report(figure{Figure: fmt.Sprintf("p99 of healthy portals, 1 in %d never answers (floor: all do)", oneIn),
		Value: median(with), Unit: "ms"}.over(median(without)).atMost(goal))
}

// isolated gives the 99th percentile of the bulletins to the portals that are well in every
// round.
func (pb *pushBench) isolated(name string, oneIn int, dead bool) (float64, error) {
	portals := pb.all(sinkSlowPath, deadPortalTimeout)
	var well []string
	for i := range portals {
		hole := i / oneIn
		switch {
		case i%oneIn != 0 || hole >= len(pb.sink.Holes):
			well = append(well, portals[i].Name)
		case dead:
			portals[i].URL = "http://" + pb.sink.Holes[hole] + "/"
		}
	}
	failed := pb.fault
	if dead {
		failed = func(string, error) {}
	}
	s, err := pb.stack(name, portals, failed)
	if err != nil {
		return 0, err
	}
	defer s.close()
	err = during(pb.ctx, func(ctx context.Context) error {
		_, _, err := pb.due(ctx, s, pb.size.backlog)
		if err != nil {
			return err
		}
		return s.waitFor(ctx, well, pb.size.backlog)
	}, s.push)
	if err != nil {
		return 0, err
	}
	var all []float64
	for _, name := range well {
		all = append(all, s.took[name]...)
	}
	return quantile(all, 0.99), nil
}

// waitFor waits until each of the portals has had as many bulletins.
func (s *pushStack) waitFor(ctx context.Context, portals []string, bulletins int) error {
	for {
		s.mu.Lock()
		left := 0
		for _, name := range portals {
			left += max(bulletins-len(s.took[name]), 0)
		}
		s.mu.Unlock()
		if left == 0 {
			return nil
		}
		if err := sleep(ctx, levelEvery); err != nil {
			return err
		}
	}
}

// bareLoop does what cannot be avoided: sign and POST.
type bareLoop struct {
	sign    func(secret, id string, t time.Time, body []byte) (string, error)
	do      func(*http.Request) (*http.Response, error)
	close   func()
	portals []portal.Portal
	body    []byte
}

// newBareLoop makes the one that anybody would write: with net/http, and the library of Standard
// Webhooks.
func newBareLoop(portals []portal.Portal) *bareLoop {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: portalWorkers, DisableCompression: true}}
	sign := func(secret, id string, t time.Time, body []byte) (string, error) {
		w, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return "", err
		}
		return w.Sign(id, t, body)
	}
	return &bareLoop{sign: sign, do: client.Do, close: client.CloseIdleConnections, portals: portals}
}

// newOwnLoop makes one that signs and posts as Loa does.
func newOwnLoop(portals []portal.Portal) *bareLoop {
	direct := outbound.NewDirect(outbound.Options{Allow: portals[0].Allow, MaxIdleConns: portalWorkers})
	return &bareLoop{sign: events.Sign, do: direct.RoundTrip, close: direct.CloseIdleConnections, portals: portals}
}

// post sends n bulletins to the portals in turn, and gives how long it took.
func (l *bareLoop) post(ctx context.Context, n int) (time.Duration, error) {
	var sent atomic.Int64
	goroutines := min(portalWorkers, n)
	began := time.Now()
	err := atOnce(ctx, goroutines, goroutines, func(ctx context.Context, _ int) error {
		for {
			i := int(sent.Add(1)) - 1
			if i >= n {
				return nil
			}
			if err := l.one(ctx, i); err != nil {
				return err
			}
		}
	})
	return time.Since(began), err
}

func (l *bareLoop) one(ctx context.Context, i int) error {
	p := l.portals[i%len(l.portals)]
	id, now := "msg_"+strconv.Itoa(i), time.Now()
	signature, err := l.sign(p.Secrets[0].Reveal(), id, now, l.body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(l.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(events.HeaderID, id)
	req.Header.Set(events.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(events.HeaderSignature, signature)
	resp, err := l.do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return err
}
