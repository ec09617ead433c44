package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"golang.org/x/sys/unix"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/feeds"
	"github.com/loa-syndication/loa/workers/intake"
	"github.com/loa-syndication/loa/workers/router"
)

type benchFeedsCmd struct {
	benchFlags
	size *feedsSize // tests set it
}

// Help is shown by loa bench feeds --help.
func (*benchFeedsCmd) Help() string {
	return benchHelp + `

A batch of changes goes through the router, the engine and the feeds worker; its cost is
the processor time of the whole process, NATS and S3 included, until the last feed is
stored, its duration is for the most part the pause between two renderings of a feed. The
floor is the same batch with a small log. For the number of renderings, all events are in
the inbox at the start, and pass the intake too. The idle change is timed from the write to the log until the two feeds of
its site are stored; the floor renders and stores the same objects. Rendering is measured
beside gorilla/feeds alone on the same items.`
}

// feedsSize is how much is measured.
type feedsSize struct {
	small, large int // articles in the log
	batch        int // changes, at most small
	rounds       int
	burst        int // events at once to one feed
	idle         int // single changes
	renders      int
	// pause between two renderings of a feed.
	pause time.Duration
}

var (
	feedsFull  = feedsSize{small: 1000, large: 100_000, batch: 1000, rounds: 7, burst: 1000, idle: 100, renders: 200, pause: time.Second}
	feedsShort = feedsSize{small: 1000, large: 10_000, batch: 1000, rounds: 5, burst: 1000, idle: 10, renders: 15, pause: time.Second}
)

const (
	// putBatch is how many messages are written in one batch: some 5 MB.
	putBatch = 1000
	// idleSites take turns, so that changes seldom wait for the pause after a rendering.
	idleSites = 10
	// feedPage is how many entries the feeds show that are rendered.
	feedPage = 50
	// afterPause is how long after the pause between two renderings the next may surely begin.
	afterPause = 100 * time.Millisecond
)

func (c *benchFeedsCmd) Run(e *env) error {
	size := feedsFull
	if c.Short {
		size = feedsShort
	}
	if c.size != nil {
		size = *c.size
	}
	return c.run(e, func(b *bench) error {
		fb := &feedsBench{bench: b, size: size}
		for _, measure := range []func() error{fb.rendering, fb.idle, fb.burst, fb.batches} {
			if err := measure(); err != nil {
				return err
			}
		}
		return nil
	})
}

type feedsBench struct {
	*bench
	size feedsSize
}

// feedsStack is a city with its feeds, and all that keeps them level but the intake.
type feedsStack struct {
	*backbone
	log     *streams.Log
	catalog *feeds.Catalog
	engine  *reconcile.Engine
	lowered tally // flags

	mu   sync.Mutex
	runs map[string]int // by feed
}

func (fb *feedsBench) stack(name string, tree *site.Tree) (_ *feedsStack, err error) {
	s := &feedsStack{runs: map[string]int{}}
	if s.backbone, err = fb.backbone(name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, stream := range []string{streams.Events, streams.Articles} {
		if err = s.takeBatches(fb.ctx, stream); err != nil {
			return nil, err
		}
	}
	if s.log, err = streams.OpenLog(fb.ctx, s.js); err != nil {
		return nil, err
	}
	if s.catalog, err = newCatalog(tree); err != nil {
		return nil, err
	}
	f, err := feeds.New(fb.ctx, feeds.Options{JS: s.js, Objects: s.store, Catalog: s.catalog, Interval: fb.size.pause, Log: zerolog.Nop()})
	if err != nil {
		return nil, err
	}
	s.engine, err = reconcile.New(fb.ctx, s.js, reconcile.Options{Kind: feeds.FlagKind, Limits: f.Limits,
		Reconciler: observed{Reconciler: f, done: s.ran, failed: fb.fault}, Workers: feedWorkers, Log: zerolog.Nop()})
	return s, err
}

func newCatalog(tree *site.Tree) (*feeds.Catalog, error) {
	cfg := config.Default()
	return feeds.NewCatalog(tree, feeds.Settings{PublicURL: "https://loa.example/", Shape: feeds.Shape{Page: feedPage}, TTL: cfg.Feeds.TTL,
		Off: []feeds.Kind{feeds.OfTag, feeds.OfAuthor, feeds.OfUrgency}}) // a known number of feeds for each article
}

func (s *feedsStack) ran(target string, flags []reconcile.Flag) {
	s.mu.Lock()
	s.runs[target]++
	s.mu.Unlock()
	s.lowered.add(len(flags))
}

// ranSince gives the runs of each feed since it was last asked.
func (s *feedsStack) ranSince() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := maps.Clone(s.runs)
	clear(s.runs)
	return runs
}

func (s *feedsStack) router() (*router.Router, error) {
	return router.New(router.Options{JS: s.js, Log: zerolog.Nop(), Kinds: map[string]router.Concerned{
		feeds.FlagKind: func(_ context.Context, e streams.Entry) ([]string, error) { return s.catalog.Concerned(e.Article), nil },
	}})
}

// flagsOf is how many flags the router raises for the articles.
func (s *feedsStack) flagsOf(articles []*article.Article) (n int) {
	for _, a := range articles {
		n += len(s.catalog.Concerned(a))
	}
	return n
}

// put writes articles to the log over whatever is there.
func (s *feedsStack) put(ctx context.Context, articles []*article.Article) error {
	return s.storeBatches(ctx, len(articles), func(i int) (subject string, data []byte, err error) {
		data, err = articles[i].Encode()
		return streams.ArticleSubject(streams.KeyOf(articles[i].Site, articles[i].ID)), data, err
	})
}

// say publishes events.
func (s *feedsStack) say(ctx context.Context, all []events.Event) error {
	return s.storeBatches(ctx, len(all), func(i int) (subject string, data []byte, err error) {
		data, err = all[i].MarshalJSON()
		return events.Subject(all[i].Site(), all[i].ArticleID()), data, err
	})
}

// storeBatches writes n messages of one stream in atomic batches, which these streams take of a
// benchmark alone: 100,000 articles with an fsync each would take longer than all the rest.
func (s *feedsStack) storeBatches(ctx context.Context, n int, message func(i int) (subject string, data []byte, err error)) error {
	for begin := 0; begin < n; begin += putBatch {
		var msgs []*nats.Msg
		for i := begin; i < min(begin+putBatch, n); i++ {
			subject, data, err := message(i)
			if err != nil {
				return err
			}
			msgs = append(msgs, &nats.Msg{Subject: subject, Data: data, Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}})
		}
		if _, err := jetstreamext.PublishMsgBatch(ctx, s.js, msgs); err != nil {
			return fmt.Errorf("write %d messages: %w", len(msgs), err)
		}
	}
	return nil
}

// takeBatches has a stream take atomic batches.
func (s *feedsStack) takeBatches(ctx context.Context, stream string) error {
	have, err := s.js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	cfg := have.CachedInfo().Config
	cfg.AllowAtomicPublish = true
	_, err = s.js.UpdateStream(ctx, cfg)
	return err
}

// route runs the router, and gives how long it took until all flags were lowered.
func (s *feedsStack) route(ctx context.Context, flags int) (time.Duration, error) {
	r, err := s.router()
	if err != nil {
		return 0, err
	}
	done := s.lowered.expect(flags)
	began := time.Now()
	var end time.Time
	err = during(ctx, func(ctx context.Context) (err error) {
		end, err = await(ctx, done, "feeds' flags were lowered")
		return err
	}, r.Run)
	return end.Sub(began), err
}

// change makes the next version of every article.
func change(articles []*article.Article) {
	for _, a := range articles {
		a.Number++
		a.Updated = a.Updated.Add(time.Minute)
		a.Accepted = a.Accepted.Add(time.Minute)
		a.Title = fmt.Sprintf("%s (lần %d)", a.Title, a.Number)
	}
}

// batches measures the cost of changes with a small and a large log.
func (fb *feedsBench) batches() error {
	tree, err := sampleTree()
	if err != nil {
		return err
	}
	var stacks [2]*feedsStack
	var batch [2][]*article.Article
	for i, articles := range []int{fb.size.small, fb.size.large} {
		s, err := fb.stack(fmt.Sprint("log-", i), tree)
		if err != nil {
			return err
		}
		defer s.close()
		fb.say("writing %d articles to a log", articles)
		if err := fb.fill(s, articles-fb.size.batch); err != nil {
			return err
		}
		fb.say("written")
		stacks[i] = s
		for a := range sample.Many(fb.size.batch) {
			a.Site = sample.CauGo
			batch[i] = append(batch[i], logged(a))
		}
	}
	var took, spent [2][]float64
	var last [2]time.Time
	per := 1000 / float64(fb.size.batch)
	route := func(ctx context.Context, i int) (duration, processor time.Duration, err error) {
		s := stacks[i]
		change(batch[i])
		if err := s.put(ctx, batch[i]); err != nil {
			return 0, 0, err
		}
		// No rendering is to wait for the pause after one of the last round.
		if err := sleep(ctx, time.Until(last[i].Add(fb.size.pause+afterPause))); err != nil {
			return 0, 0, err
		}
		before := processorTime()
		duration, err = s.route(ctx, s.flagsOf(batch[i]))
		last[i] = time.Now()
		return duration, processorTime() - before, err
	}
	work := func(ctx context.Context) error {
		// The first batch makes the feeds.
		err := atOnce(ctx, len(stacks), len(stacks), func(ctx context.Context, i int) error {
			_, _, err := route(ctx, i)
			return err
		})
		if err != nil {
			return err
		}
		for _, s := range stacks {
			s.ranSince()
		}
		for round := 0; fb.more(round, fb.size.rounds, shortLast); round++ {
			for turn := range stacks {
				i := (turn + round) % len(stacks) // neither is always the first
				duration, processor, err := route(ctx, i)
				if err != nil {
					return err
				}
				took[i], spent[i] = append(took[i], ms(duration)*per), append(spent[i], ms(processor)*per)
			}
			fb.say("round %d of %d: %.0f ms of processor time in %d renderings, with the small log %.0f ms in %d",
				round+1, fb.size.rounds, spent[1][round], sum(stacks[1].ranSince()), spent[0][round], sum(stacks[0].ranSince()))
		}
		return ctx.Err()
	}
	if err := during(fb.ctx, work, stacks[0].engine.Run, stacks[1].engine.Run); err != nil {
		return err
	}
	name := fmt.Sprintf("1,000 changes into feeds, %d articles in the log (floor: %d), ", fb.size.large, fb.size.small)
	return errors.Join(
		fb.report(figure{Figure: name + "processor time", Value: median(spent[1]), Unit: "ms"}.over(median(spent[0])).atMost(1.2)),
		fb.report(figure{Figure: name + "duration", Value: median(took[1]), Unit: "ms"}.over(median(took[0]))))
}

// processorTime is what this process has used so far, NATS and S3 included.
func processorTime() time.Duration {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		panic(err) // it fails only for what it is not asked here
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func sum(counts map[string]int) (n int) {
	for _, one := range counts {
		n += one
	}
	return n
}

// fill writes older articles, of which no feed is to learn.
func (fb *feedsBench) fill(s *feedsStack, n int) error {
	var part []*article.Article
	written := 0
	for a := range sample.Many(n) {
		a.ID = "cu-" + a.ID
		a.Published = a.Published.AddDate(-1, 0, 0)
		if part = append(part, logged(a)); len(part) == putBatch || written+len(part) == n {
			if err := s.put(fb.ctx, part); err != nil {
				return err
			}
			written += len(part)
			part = part[:0]
		}
	}
	return skip(fb.ctx, s.js, n)
}

// roots are sites that have nothing to do with each other: two feeds each.
func roots(n int) ([]site.Site, *site.Tree, error) {
	var sites []site.Site
	for i := range n {
		sites = append(sites, site.Site{ID: fmt.Sprintf("xa-%d", i), Name: fmt.Sprintf("Xã số %d", i), URL: fmt.Sprintf("https://xa-%d.example/", i)})
	}
	tree, err := site.New(sites)
	return sites, tree, err
}

// plain makes articles of a site, without categories.
func plain(site string, n int) []events.Article {
	var all []events.Article
	for a := range sample.Many(n) {
		a.Site, a.Categories = site, nil
		all = append(all, a)
	}
	return all
}

// burst counts the renderings of one feed when many events come at once.
func (fb *feedsBench) burst() error {
	sites, tree, err := roots(1)
	if err != nil {
		return err
	}
	s, err := fb.stack("burst", tree)
	if err != nil {
		return err
	}
	defer s.close()
	var all []events.Event
	for _, a := range plain(sites[0].ID, fb.size.burst) {
		all = append(all, events.NewPublished(benchSource, a))
	}
	if err := s.say(fb.ctx, all); err != nil {
		return err
	}
	in, err := intake.New(fb.ctx, intake.Options{JS: s.js, Sites: tree, Pictures: noPictures{}, Objects: s.store, Log: zerolog.Nop()})
	if err != nil {
		return err
	}
	var took time.Duration
	err = during(fb.ctx, func(ctx context.Context) (err error) {
		took, err = s.route(ctx, 2*len(all))
		return err
	}, in.Run, s.engine.Run)
	if err != nil {
		return err
	}
	runs := s.ranSince()[sites[0].ID]
	fb.say("%d events at once: %d renderings in %.1f s", len(all), runs, took.Seconds())
	return fb.report(figure{Figure: fmt.Sprintf("renderings of a feed for %d events at once", len(all)), Value: float64(runs), Unit: "renderings"}.atMost(10))
}

// idle measures how long one change takes to the object store, when there is nothing else.
func (fb *feedsBench) idle() error {
	sites, tree, err := roots(idleSites)
	if err != nil {
		return err
	}
	s, err := fb.stack("idle", tree)
	if err != nil {
		return err
	}
	defer s.close()
	var articles [][]*article.Article // by site
	for _, of := range sites {
		var all []*article.Article
		for _, a := range plain(of.ID, feedPage) {
			all = append(all, logged(a))
		}
		articles = append(articles, all)
		if err := s.put(fb.ctx, all); err != nil {
			return err
		}
	}
	r, err := s.router()
	if err != nil {
		return err
	}
	done := s.lowered.expect(2 * feedPage * len(sites))
	var took, floors []float64
	work := func(ctx context.Context) error {
		if _, err := await(ctx, done, "feeds were stored"); err != nil {
			return err
		}
		last := make([]time.Time, len(sites))
		for i := range last {
			last[i] = time.Now()
		}
		for round := range fb.size.idle {
			at := round % len(sites)
			if err := sleep(ctx, time.Until(last[at].Add(fb.size.pause+afterPause))); err != nil {
				return err
			}
			changed := articles[at][round%feedPage]
			d, err := s.one(ctx, changed)
			if err != nil {
				return err
			}
			last[at] = time.Now()
			floor, err := s.bareOne(ctx, sites[at].ID, articles[at], round)
			if err != nil {
				return err
			}
			took, floors = append(took, ms(d)), append(floors, ms(floor))
		}
		return nil
	}
	if err := during(fb.ctx, work, r.Run, s.engine.Run); err != nil {
		return err
	}
	fb.say("%d single changes", len(took))
	return fb.report(figure{Figure: "one change, written to its two feeds stored, p50", Value: median(took), Unit: "ms"}.over(median(floors)))
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// one changes an article of which two feeds have to learn.
func (s *feedsStack) one(ctx context.Context, a *article.Article) (time.Duration, error) {
	before, err := s.log.Latest(ctx, streams.KeyOf(a.Site, a.ID))
	if err != nil {
		return 0, err
	}
	change([]*article.Article{a})
	done := s.lowered.expect(2)
	began := time.Now()
	if _, err := s.log.Put(ctx, a, before.Seq); err != nil {
		return 0, err
	}
	end, err := await(ctx, done, "feeds were stored")
	return end.Sub(began), err
}

// bareOne renders two feeds and stores them, and does nothing else.
func (s *feedsStack) bareOne(ctx context.Context, of string, articles []*article.Article, round int) (time.Duration, error) {
	var trials []*feeds.Trial
	for _, id := range []string{of, of + "--all"} {
		t, err := newTrial(s.catalog, id, articles)
		if err != nil {
			return 0, err
		}
		trials = append(trials, t)
	}
	began := time.Now()
	err := atOnce(ctx, len(trials), len(trials), func(ctx context.Context, i int) error {
		docs, err := trials[i].Changed(round % len(articles))
		if err != nil {
			return err
		}
		return atOnce(ctx, len(docs), len(docs), func(ctx context.Context, j int) error {
			_, err := s.store.Put(ctx, fmt.Sprintf("floor/%d/%s/%d", i, of, j), docs[j], feedMeta)
			return err
		})
	})
	return time.Since(began), err
}

func newTrial(c *feeds.Catalog, id string, articles []*article.Article) (*feeds.Trial, error) {
	feed, ok := c.Parse(id)
	if !ok {
		return nil, fmt.Errorf("no feed %s", id)
	}
	var entries []streams.Entry
	for i, a := range slices.Backward(articles) { // the newest first
		entries = append(entries, streams.Entry{Article: a, Key: streams.KeyOf(a.Site, a.ID), Seq: uint64(i + 1)})
	}
	return c.NewTrial(feed, entries)
}
