package feeds

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

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
			_, err := c.render(feed, &h.index, items, nil)
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
