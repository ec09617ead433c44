package router_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/router"
)

// bench is a log to be routed, and the flags that come of it.
type bench struct {
	testing.TB
	js  jetstream.JetStream
	log *streams.Log
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{TB: t, js: loatest.NATS(t)}
	var err error
	if b.log, err = streams.OpenLog(t.Context(), b.js); err != nil {
		t.Fatal(err)
	}
	return b
}

// run starts a router; stop ends it, as the end of the test does.
func (b *bench) run(kinds map[string]router.Concerned, change ...func(*router.Options)) (stop func()) {
	b.Helper()
	o := router.Options{JS: b.js, Kinds: kinds, Retry: 10 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	r, err := router.New(o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.Errorf("run: %v", err)
		}
	})
	b.Cleanup(stop)
	loatest.Reading(b, b.js, streams.Articles, "router")
	return stop
}

func live(id string) *article.Article {
	return &article.Article{Site: "an-khanh", ID: id, Status: events.StatusLive, Urgency: 5, Version: article.Version{Number: 1}}
}

func (b *bench) put(a *article.Article) (seq uint64) {
	b.Helper()
	var last uint64
	if cur, err := b.log.Latest(b.Context(), streams.KeyOf(a.Site, a.ID)); err == nil {
		last = cur.Seq
	}
	seq, err := b.log.Put(b.Context(), a, last)
	if err != nil {
		b.Fatal(err)
	}
	return seq
}

// routed waits until the router has dealt with all of the log.
func (b *bench) routed() {
	b.Helper()
	loatest.Eventually(b, "the log is routed", func() bool { return b.left() == 0 })
}

func (b *bench) left() uint64 {
	b.Helper()
	return loatest.Left(b, b.js, streams.Articles, "router")
}

// flags are those that are up, "class kind target key" → the log's sequence.
func (b *bench) flags() map[string]uint64 {
	b.Helper()
	s, err := b.js.Stream(b.Context(), streams.Flags)
	if err != nil {
		b.Fatal(err)
	}
	info, err := s.Info(b.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		b.Fatal(err)
	}
	up := map[string]uint64{}
	for subject := range info.State.Subjects {
		f, err := streams.ParseFlag(subject)
		if err != nil {
			b.Fatal(err)
		}
		m, err := s.GetLastMsgForSubject(b.Context(), subject)
		if err != nil {
			b.Fatal(err)
		}
		var seq uint64
		if _, err := fmt.Sscan(string(m.Data), &seq); err != nil {
			b.Fatal(err)
		}
		up[strings.Join([]string{f.Class, f.Kind, f.Target, f.Key}, " ")] = seq
	}
	return up
}

func targets(names ...string) router.Concerned {
	return func(context.Context, streams.Entry) ([]string, error) { return names, nil }
}

func TestAVersionFlagsTheTargetsItConcerns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run(map[string]router.Concerned{
		"feed":   func(_ context.Context, e streams.Entry) ([]string, error) { return []string{e.Site, "tp"}, nil },
		"portal": targets("quan-1"),
		"hub":    targets(),
	})
	seq := b.put(live("tin-1"))
	b.routed()
	want := map[string]uint64{
		"normal feed an-khanh an-khanh.tin-1": seq,
		"normal feed tp an-khanh.tin-1":       seq,
		"normal portal quan-1 an-khanh.tin-1": seq,
	}
	if got := b.flags(); !maps.Equal(got, want) {
		t.Errorf("flags %v, want %v", got, want)
	}
}

func TestWithdrawalsCorrectionsAndUrgentArticlesGoExpress(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run(map[string]router.Concerned{"portal": targets("quan-1")})
	withdrawn, corrected, urgent := live("withdrawn"), live("corrected"), live("urgent")
	withdrawn.Status = events.StatusWithdrawn
	corrected.Correction = "Sửa ngày họp"
	urgent.Urgency = 1
	for _, a := range []*article.Article{live("plain"), withdrawn, corrected, urgent} {
		b.put(a)
	}
	b.routed()
	want := []string{
		"express portal quan-1 an-khanh.corrected", "express portal quan-1 an-khanh.urgent",
		"express portal quan-1 an-khanh.withdrawn", "normal portal quan-1 an-khanh.plain",
	}
	if got := slices.Sorted(maps.Keys(b.flags())); !slices.Equal(got, want) {
		t.Errorf("flags %q, want %q", got, want)
	}
}

func TestOneVersionThatCannotBeRoutedHoldsNoOtherBack(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("no answer") },
		"panic": func() error { panic("nil map") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			var asked atomic.Int64
			var mended atomic.Bool
			bad := b.put(live("bad"))
			for i := range 300 {
				b.put(live(fmt.Sprint("good-", i)))
			}
			reg := prometheus.NewRegistry()
			b.run(map[string]router.Concerned{
				"feed": targets("tp"),
				"portal": func(_ context.Context, e streams.Entry) ([]string, error) {
					if e.Seq == bad && !mended.Load() {
						asked.Add(1)
						return nil, fail()
					}
					return []string{"quan-1"}, nil
				},
			}, func(o *router.Options) { o.Metrics = reg })
			loatest.Eventually(t, "the others are routed", func() bool { return b.left() == 1 && len(b.flags()) == 600 })
			loatest.Eventually(t, "it is tried again", func() bool { return asked.Load() > 2 })
			mended.Store(true)
			b.routed()
			up := b.flags()
			if len(up) != 602 || up["normal portal quan-1 an-khanh.bad"] != bad {
				t.Errorf("%d flags, the late one for %d", len(up), up["normal portal quan-1 an-khanh.bad"])
			}
			if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP loa_router_versions_total Versions of articles whose targets were flagged.
# TYPE loa_router_versions_total counter
loa_router_versions_total 301
`), "loa_router_versions_total"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRoutingAgainIsHarmless(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	kinds := map[string]router.Concerned{"portal": targets("quan-1", "quan-2")}
	stop := b.run(kinds)
	b.put(live("tin-1"))
	b.routed()
	once := b.flags()
	stop()
	// A consumer that is made anew gives everything out again.
	if err := b.js.DeleteConsumer(t.Context(), streams.Articles, "router"); err != nil {
		t.Fatal(err)
	}
	b.run(kinds)
	b.routed()
	if got := b.flags(); !maps.Equal(got, once) {
		t.Errorf("flags %v, want %v", got, once)
	}
}

func TestANewVersionRaisesTheFlagForItself(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run(map[string]router.Concerned{"portal": targets("quan-1")})
	b.put(live("tin-1"))
	b.routed()
	second := live("tin-1")
	second.Number = 2
	seq := b.put(second)
	b.routed()
	want := map[string]uint64{"normal portal quan-1 an-khanh.tin-1": seq}
	if got := b.flags(); !maps.Equal(got, want) {
		t.Errorf("flags %v, want %v", got, want)
	}
}

func TestABacklogIsRoutedInBatches(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const articles, portals = 500, 30
	var names []string
	for i := range portals {
		names = append(names, fmt.Sprint("portal-", i))
	}
	for i := range articles {
		b.put(live(fmt.Sprint("tin-", i)))
	}
	reg := prometheus.NewRegistry()
	b.run(map[string]router.Concerned{"portal": targets(names...)}, func(o *router.Options) { o.Metrics = reg })
	b.routed()
	waiting, err := reconcile.CountWaiting(t.Context(), b.js, "portal", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if up := waiting[name].Flags; up != articles {
			t.Errorf("%d articles wait for %s, want %d", up, name, articles)
		}
	}
	groups := map[int]bool{}
	for _, name := range names {
		groups[streams.FlagGroup("portal", name)] = true
	}
	if up := len(b.flags()); up != articles*len(groups) {
		t.Errorf("%d flags, want one of each article for each of the portals' %d groups", up, len(groups))
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "loa_router_seconds" {
			if n := f.GetMetric()[0].GetHistogram().GetSampleCount(); n > articles/4 {
				t.Errorf("%d batches for %d versions", n, articles)
			}
		}
	}
}

func TestAnotherRouterGoesOnWhereOneStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const n = 1000
	for i := range n {
		b.put(live(fmt.Sprint("tin-", i)))
	}
	begun, goOn := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	stop := b.run(map[string]router.Concerned{"portal": func(context.Context, streams.Entry) ([]string, error) {
		begin()
		<-goOn
		return []string{"quan-1"}, nil
	}})
	<-begun
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	close(goOn)
	<-stopped
	began := time.Now()
	b.run(map[string]router.Concerned{"portal": targets("quan-1")})
	b.routed()
	if took := time.Since(began); took >= streams.AckWait {
		t.Errorf("took %s: what the first one had been sent was waited for, and not handed back", took)
	}
	if got := len(b.flags()); got != n {
		t.Errorf("%d flags, want %d", got, n)
	}
}

// BenchmarkRoute routes a backlog of versions to 20 targets each.
func BenchmarkRoute(b *testing.B) {
	env := newBench(b)
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprint("portal-", i))
	}
	for i := range b.N {
		env.put(live(fmt.Sprint("tin-", i)))
	}
	b.ResetTimer()
	env.run(map[string]router.Concerned{"portal": targets(names...)})
	env.routed()
	b.ReportMetric(float64(20*b.N)/b.Elapsed().Seconds(), "flags/s")
}
