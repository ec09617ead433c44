package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// benchFlags are those of every benchmark.
type benchFlags struct {
	Short bool `help:"Fewer rounds and a smaller log: under 30 seconds."`
	JSON  bool `help:"Print every figure as one object on a line of its own, as soon as it is known."`
	// Profile is for go tool pprof.
	Profile string `hidden:"" placeholder:"FILE" help:"Write a profile of the processor time."`
}

// benchHelp tells how the benchmarks' figures are to be read.
const benchHelp = `Everything runs here, in a temporary directory that is removed: NATS and S3 with every
write synced, and the workers as loa serve has them. The floor is a bare loop that does
only what cannot be avoided, measured in turn with the figure itself; both are medians
of several rounds. The ratio (figure by floor) is what to compare between machines; the
goal is one for the ratio, or for the figure where there is no floor.`

// figure is one thing that was measured.
type figure struct {
	Figure string  `json:"figure"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	// Floor is what the unavoidable part gave in the same run, in the same unit, and Ratio
	// Value by Floor.
	Floor *float64 `json:"floor"`
	Ratio *float64 `json:"ratio"`
	// Goal is for Ratio, or for Value where there is no floor.
	Goal *float64 `json:"goal"`
	// atLeast says that the goal is a lower bound: rates have those, durations upper ones.
	atLeast bool
}

// over gives the figure its floor.
func (f figure) over(floor float64) figure {
	ratio := f.Value / floor
	f.Floor, f.Ratio = &floor, &ratio
	return f
}

func (f figure) atMost(goal float64) figure { f.Goal = &goal; return f }

func (f figure) noLessThan(goal float64) figure { f.Goal, f.atLeast = &goal, true; return f }

// verdict is the goal for people, with whether it was met.
func (f figure) verdict() string {
	if f.Goal == nil {
		return ""
	}
	got, sign, met := f.Value, "≤", "✗"
	if f.Ratio != nil {
		got = *f.Ratio
	}
	if f.atLeast {
		sign = "≥"
	}
	if f.atLeast && got >= *f.Goal || !f.atLeast && got <= *f.Goal {
		met = "✓"
	}
	return fmt.Sprintf("%s %s %s", sign, significant(*f.Goal), met)
}

// significant writes a number with about three digits that count.
func significant(v float64) string {
	decimals := 2
	if v != 0 {
		decimals = min(max(2-int(math.Floor(math.Log10(math.Abs(v)))), 0), 4)
	}
	if v == math.Trunc(v) {
		decimals = 0
	}
	return fmt.Sprintf("%.*f", decimals, v)
}

// bench is one run of a benchmark.
type bench struct {
	*env
	asJSON  bool
	short   bool
	dir     string // removed at the end
	began   time.Time
	figures []figure
}

// run measures and reports. What was measured before an interrupt is reported too.
func (f benchFlags) run(e *env, measure func(*bench) error) error {
	dir, err := os.MkdirTemp("", "loa-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if f.Profile != "" {
		file, err := os.Create(f.Profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	b := &bench{env: e, asJSON: f.JSON, short: f.Short, dir: dir, began: time.Now()}
	err = measure(b)
	b.print()
	if e.ctx.Err() != nil {
		return errors.New("interrupted before everything was measured")
	}
	return err
}

// In a short benchmark no more rounds begin after these times, so that one on a busy machine
// ends in time too; one is always measured.
const (
	shortFirst = 4 * time.Second  // of what is measured first
	shortLast  = 10 * time.Second // of what is measured last
)

// more reports whether another round is to follow those that were measured, of at most so many.
func (b *bench) more(measured, most int, short time.Duration) bool {
	return measured < most && b.ctx.Err() == nil && (measured == 0 || !b.short || time.Since(b.began) < short)
}

// say reports progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.stderr, "%5.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// report takes a figure down.
func (b *bench) report(f figure) error {
	b.figures = append(b.figures, f)
	if b.asJSON {
		return b.json(f)
	}
	return nil
}

func (b *bench) print() {
	if b.asJSON || len(b.figures) == 0 {
		return
	}
	var rows [][]string
	for _, f := range b.figures {
		floor, ratio := "", ""
		if f.Floor != nil {
			floor, ratio = significant(*f.Floor), significant(*f.Ratio)
		}
		rows = append(rows, []string{f.Figure, significant(f.Value), f.Unit, floor, ratio, f.verdict()})
	}
	b.table([]string{"FIGURE", "VALUE", "UNIT", "FLOOR", "RATIO", "GOAL"}, rows)
}

// backbone starts a NATS and an S3 of the benchmark's own. The caller closes it.
func (b *bench) backbone(name string) (*backbone, error) {
	cfg := config.Default()
	cfg.DataDir = filepath.Join(b.dir, name)
	cfg.NATS.Listen = "" // nobody comes from outside
	return startBackbone(b.ctx, cfg, zerolog.Nop())
}

// during runs workers while do is at work, and returns when all have ended.
func during(ctx context.Context, do func(context.Context) error, workers ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range workers {
		group.Go(func() error { return w(ctx) })
	}
	err := do(ctx)
	cancel()
	return cmp.Or(group.Wait(), err) // a worker that failed is why do could not go on
}

// benchPatience bounds the wait for anything; what takes longer has gone wrong.
const benchPatience = 2 * time.Minute

// tally counts what workers have done towards a number.
type tally struct {
	mu   sync.Mutex
	left int
	at   chan time.Time
}

// expect begins to count anew. The channel receives the moment at which n is reached.
func (t *tally) expect(n int) <-chan time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left, t.at = n, make(chan time.Time, 1)
	return t.at
}

func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left <= 0 {
		return
	}
	if t.left -= n; t.left <= 0 {
		t.at <- time.Now()
	}
}

// await gives the moment, and says what did not happen if it does not come.
func await(ctx context.Context, at <-chan time.Time, what string) (time.Time, error) {
	select {
	case t := <-at:
		return t, nil
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	case <-time.After(benchPatience):
		return time.Time{}, fmt.Errorf("not every one of the %s within %s", what, benchPatience)
	}
}

// observed is a reconciler that tells what it has done, and what it could not do.
type observed struct {
	reconcile.Reconciler
	done   func(target string, flags []reconcile.Flag)
	failed func(target string, err error)
	level  func(target string, flags []reconcile.Flag) // nothing was left to do; nil: is not counted
}

func (o observed) Reconcile(ctx context.Context, target string, flags []reconcile.Flag) error {
	err := o.Reconciler.Reconcile(ctx, target, flags)
	switch {
	case err == nil:
		o.done(target, flags)
	case errors.Is(err, reconcile.ErrLevel):
		if o.level != nil {
			o.level(target, flags)
		}
	case ctx.Err() == nil:
		o.failed(target, err)
	}
	return err
}

// fault reports what went wrong where nothing should: the figure will show it too.
func (b *bench) fault(target string, err error) { b.say("%s: %v", target, err) }

// skip takes from the router what it has yet to read: those versions have been dealt with.
func skip(ctx context.Context, js jetstream.JetStream, versions int) error {
	if versions == 0 {
		return nil
	}
	c, err := streams.RouterConsumer(ctx, js)
	if err != nil {
		return err
	}
	var skipped tally
	done := skipped.expect(versions)
	reader, err := c.Consume(func(m jetstream.Msg) {
		_ = m.Ack()
		skipped.add(1)
	})
	if err != nil {
		return err
	}
	defer func() { reader.Drain(); <-reader.Closed() }()
	_, err = await(ctx, done, "versions were skipped")
	return err
}

// atOnce calls f with 0 to n-1 from so many goroutines.
func atOnce(ctx context.Context, goroutines, n int, f func(ctx context.Context, i int) error) error {
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(goroutines)
	for i := range n {
		if within.Err() != nil {
			break
		}
		group.Go(func() error { return f(within, i) })
	}
	return cmp.Or(group.Wait(), ctx.Err())
}

// benchSource is the CMS of the benchmarks' events.
const benchSource = "urn:loa:bench"

// logged is what intake makes of a snapshot without pictures.
func logged(in events.Article) *article.Article {
	a := &article.Article{
		GUID: article.NewGUID(in.Site, in.ID), Site: in.Site, ID: in.ID, Version: article.Version{Number: in.Version},
		Status: events.StatusLive, Digests: []string{events.NewPublished(benchSource, in).Digest},
		URL: in.URL, Title: in.Title, Summary: in.Summary, Body: in.Body, Language: in.Language,
		Authors: in.Authors, Categories: in.Categories, Tags: in.Tags, Urgency: 5, Published: in.Published, Updated: in.Published,
		Places: in.Places, Rights: in.Rights, Accepted: in.Published.Add(time.Minute),
	}
	if a.Summary == "" {
		a.Summary = article.Summary(a.Body, article.SummaryLength)
	}
	for _, c := range a.Categories {
		a.Ever.Categories = append(a.Ever.Categories, c.ID)
	}
	slices.Sort(a.Ever.Categories)
	return a
}

// us is a duration in microseconds.
func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// ms is a duration in milliseconds.
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile of what was measured, in any order; 0 of nothing.
func quantile(of []float64, q float64) float64 {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// median of what was measured; of an even number, the middle between the middle two.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[len(sorted)/2] + sorted[(len(sorted)-1)/2]) / 2
}
