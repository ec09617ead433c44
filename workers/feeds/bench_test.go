package feeds

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// BenchmarkRender renders a feed of 50 entries with bodies of 3 KB beside gorilla/feeds alone on
// the same entries: all of them (whole), and one that changed, the others from memory, as a
// worker does it for an event (changed). The last figures are those of all formats together,
// with the cleaning of the articles' text.
func BenchmarkRender(b *testing.B) {
	c := city(b, Settings{})
	articles := many(b, ward, 50)
	slices.Reverse(articles)
	feed, _ := c.Parse(ward)
	h := &held{}
	var changes []change
	var items []*item
	for i, a := range articles {
		changes = append(changes, c.change(feed, streams.Entry{Article: a, Key: streams.KeyOf(a.Site, a.ID), Seq: uint64(i + 1)}))
		items = append(items, must(c.item(lookFull, a, uint64(i+1))))
	}
	h.apply(changes)
	doc := c.document(feed, &h.index)

	alone := doc.gorilla()
	for _, it := range items {
		alone.Items = append(alone.Items, it.item())
	}
	floors := [formatCount]func(io.Writer) error{alone.WriteRss, alone.WriteAtom, alone.WriteJSON}
	for i, format := range formats {
		b.Run("format="+format.label, func(b *testing.B) {
			parts := make([][]byte, len(items))
			compare(b, func() error { return floors[i](io.Discard) }, func() error {
				for n, it := range items {
					parts[n] = must(format.element(it.entry))
				}
				return format.write(io.Discard, doc, parts)
			}, func() error {
				parts[7] = must(format.element(items[7].entry))
				return format.write(io.Discard, doc, parts)
			})
		})
	}
	b.Run("format=all", func(b *testing.B) {
		var again pages
		compare(b, func() error {
			for _, floor := range floors {
				if err := floor(io.Discard); err != nil {
					return err
				}
			}
			return nil
		}, func() error {
			for n, a := range articles {
				items[n] = must(c.item(lookFull, a, uint64(n+1)))
			}
			_, err := c.render(feed, &h.index, items, nil)
			return err
		}, func() error {
			items[7] = must(c.item(lookFull, articles[7], 8))
			_, err := c.renderInto(&again, feed, &h.index, items, nil)
			return err
		})
	})
}

// compare reports the time of a rendering by gorilla/feeds alone, of ours of the whole feed
// and of ours with one entry changed.
func compare(b *testing.B, gorilla, whole, changed func() error) {
	var took [3]time.Duration
	for b.Loop() {
		for i, render := range []func() error{gorilla, whole, changed} {
			began := time.Now()
			if err := render(); err != nil {
				b.Fatal(err)
			}
			took[i] += time.Since(began)
		}
	}
	b.ReportMetric(0, "ns/op") // the sum of the three means nothing
	for i, name := range []string{"gorilla", "whole", "changed"} {
		b.ReportMetric(float64(took[i].Microseconds())/float64(b.N), name+"-µs")
		if i > 0 {
			b.ReportMetric(float64(took[i])/float64(took[0]), name+"-ratio")
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// BenchmarkThousandChanges applies 1,000 new versions to a feed at once, index and objects
// stored, with logs of different sizes behind it: the cost of a change must not depend on them.
func BenchmarkThousandChanges(b *testing.B) {
	perChange := map[int]float64{}
	for _, size := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("articles=%d", size), func(b *testing.B) {
			w := newWorld(b, Settings{})
			newest := make([]*article.Article, 0, 1000)
			for from := 0; from < size; from += 5000 {
				part := numbered(b, from, min(5000, size-from))
				w.prefill(part)
				newest = part[max(len(part)-1000, 0):]
			}
			w.level(ward, changed(newest[0], "Tin đầu"))
			newest[0] = changed(newest[0], "Tin đầu")
			n := 0
			for b.Loop() {
				b.StopTimer()
				flags := make([]reconcile.Flag, 0, len(newest))
				n++
				for i, a := range newest {
					newest[i] = changed(a, fmt.Sprintf("Bản %d của tin %d", n, i))
				}
				flags = append(flags, w.put(newest...)...)
				b.StartTimer()
				if err := w.Reconcile(b.Context(), ward, flags); err != nil {
					b.Fatal(err)
				}
			}
			perChange[size] = float64(b.Elapsed()) / float64(b.N) / float64(len(newest))
			b.ReportMetric(perChange[size], "ns/change")
			b.ReportMetric(float64(w.renders())/float64(b.N), "renders/op")
			if perChange[1_000] > 0 {
				b.ReportMetric(perChange[size]/perChange[1_000], "ratio")
			}
		})
	}
}

// BenchmarkChange has a feed follow single events, with archives of different sizes behind it: a new
// article, and a new version of one that only the archives have. What is compared is the processor
// time, that of NATS and S3 included: the rest is waiting for the disk.
func BenchmarkChange(b *testing.B) {
	sizes := []int{1_000, 100_000}
	took := map[string]float64{}
	for _, size := range sizes {
		w := newWorld(b, Settings{})
		all := numbered(b, 0, size)
		for i, a := range all { // a year or so of the largest
			a.Published = a.Published.Add(time.Duration(i-size) * 5 * time.Minute)
			a.Ever.Published = []time.Time{a.Published}
		}
		for part := range slices.Chunk(all, 5000) {
			w.inArchives(ward, part, w.prefill(part))
		}
		w.level(ward, changed(all[size-1], "Tin đầu")) // an index so small fills itself once
		rng := rand.New(rand.NewPCG(8, uint64(size)))
		n := 0
		for _, what := range []string{"new", "edit"} {
			b.Run(fmt.Sprintf("%s/articles=%d", what, size), func(b *testing.B) {
				var used time.Duration
				for b.Loop() {
					b.StopTimer()
					n++
					a := *all[rng.IntN(size/2)]
					if what == "new" {
						a.ID = fmt.Sprintf("moi-%d", n)
						a.GUID = article.NewGUID(a.Site, a.ID)
						a.Published = all[size-1].Published.Add(time.Duration(n) * time.Second)
						a.Ever.Published = []time.Time{a.Published}
					} else {
						a.Number = int64(n) + 1
						a.Title = fmt.Sprintf("Bản %d", n)
					}
					flags := w.put(&a)
					began := processor()
					b.StartTimer()
					if err := w.Reconcile(b.Context(), ward, flags); err != nil {
						b.Fatal(err)
					}
					used += processor() - began
				}
				took[fmt.Sprint(what, size)] = float64(used) / float64(b.N)
				b.ReportMetric(float64(used.Microseconds())/float64(b.N), "processor-µs/op")
				if first := took[fmt.Sprint(what, sizes[0])]; first > 0 {
					b.ReportMetric(took[fmt.Sprint(what, size)]/first, "ratio")
				}
			})
		}
	}
}

// processor is the processor time that the process has used.
func processor() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// inArchives puts articles into the archives of a feed, without rendering these.
func (w *world) inArchives(feed string, articles []*article.Article, flags []reconcile.Flag) {
	w.t.Helper()
	ctx := w.t.Context()
	f, _ := w.catalog.Parse(feed)
	h, err := w.readIndex(ctx, feed)
	a := &archiving{f: w.Feeds, feed: f, now: time.Now(), months: h.Months, lists: map[string]*heldMonth{}, parts: map[string]*heldPart{}}
	for i, one := range articles {
		c := w.catalog.change(f, streams.Entry{Article: one, Key: streams.KeyOf(one.Site, one.ID), Seq: flags[i].Seq})
		if err == nil {
			err = a.insert(ctx, c, false)
		}
		h.Archived = &c.shown.place
	}
	for _, p := range a.parts {
		if err == nil && p.dirty {
			err = a.write(ctx, partKey(f, p.month, p.number), p.part, p.revision)
		}
	}
	for _, m := range a.lists {
		if err == nil {
			err = a.write(ctx, feed+"."+m.name, m, m.revision)
		}
	}
	h.Months = a.months
	h.Floor = &place{Published: h.Archived.Published.Add(time.Millisecond)}
	if err == nil {
		err = w.writeIndex(ctx, f, h)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// numbered are n articles of one ward with the numbers from, from+1, ...: few different texts,
// which are cheap to make.
func numbered(b *testing.B, from, n int) []*article.Article {
	models := many(b, ward, 100)
	all := make([]*article.Article, n)
	for i := range all {
		a := *models[i%len(models)]
		number := from + i
		a.ID = fmt.Sprintf("so-%d", number)
		a.GUID = article.NewGUID(a.Site, a.ID)
		a.Published = models[0].Published.Add(time.Duration(number) * time.Second)
		a.Updated, a.Accepted = a.Published, a.Published
		all[i] = &a
	}
	return all
}
