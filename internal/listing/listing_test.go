package listing_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/listing"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

var howMany = flag.Int("articles", 1000, "articles that are listed while others are edited")

var start = time.Date(2026, 1, 1, 8, 0, 0, 0, time.FixedZone("+07", 7*3600))

// sample is the n-th article: of two sites, in two categories.
func sample(n int) *article.Article {
	id := fmt.Sprintf("tin-%d", n)
	site := []string{"phuong-a", "phuong-b"}[n%2]
	return &article.Article{GUID: article.NewGUID(site, id), Site: site, ID: id, Version: article.Version{Number: 1}, Status: events.StatusLive,
		URL: "https://a.example/" + id, Title: "Thông báo số " + id, Body: strings.Repeat("<p>Ủy ban nhân dân phường thông báo.</p>", 10), Language: "vi",
		Categories: []events.Category{{ID: []string{"thong-bao", "van-hoa", "van-hoa"}[n%3]}}, Tags: []string{"hè", "lịch"}, Urgency: 5 - n%5,
		// Many have the same time.
		Published: start.Add(time.Duration(n/7) * time.Minute)}
}

// put stores articles, all at once.
func put(t testing.TB, js jetstream.JetStream, all ...*article.Article) {
	t.Helper()
	for part := range slices.Chunk(all, 1000) {
		for _, a := range part {
			data, err := a.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.PublishAsync(streams.ArticleSubject(streams.KeyOf(a.Site, a.ID)), data); err != nil {
				t.Fatal(err)
			}
		}
		<-js.PublishAsyncComplete()
	}
}

// run starts an index, and waits until it is filled.
func run(t testing.TB, js jetstream.JetStream) *listing.Index {
	t.Helper()
	x := listing.New(js, zerolog.Nop())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { x.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	loatest.Eventually(t, "the index to be filled", func() bool { return x.Ready() == nil })
	return x
}

func level(t testing.TB, js jetstream.JetStream, x *listing.Index) {
	t.Helper()
	stream, err := js.Stream(t.Context(), streams.Articles)
	if err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "the index to be level with the log", func() bool {
		last, _ := x.Last()
		return last == stream.CachedInfo().State.LastSeq
	})
}

// all lists everything, in pages of n.
func all(t testing.TB, x *listing.Index, q listing.Query, n int, between func()) (keys []streams.Key) {
	t.Helper()
	var at listing.Position
	for {
		hits, next, more, err := x.List(q, at, n)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hits {
			keys = append(keys, h.Key)
		}
		if !more {
			return keys
		}
		at = next
		if between != nil {
			between()
		}
	}
}

func TestArticlesAreListedAndFiltered(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	x := listing.New(js, zerolog.Nop())
	if _, _, _, err := x.List(listing.Query{}, listing.Position{}, 1); err != listing.ErrNotReady {
		t.Errorf("before it is filled: %v", err)
	}
	var made []*article.Article
	for n := range 60 {
		made = append(made, sample(n))
	}
	gone := sample(70)
	gone.Status = events.StatusWithdrawn
	made = append(made, gone)
	put(t, js, made[:30]...)
	x = run(t, js)
	put(t, js, made[30:]...) // some before it was filled, and some after
	level(t, js, x)

	for name, q := range map[string]listing.Query{
		"all": {}, "live": {Status: events.StatusLive}, "withdrawn": {Status: events.StatusWithdrawn},
		"site": {Sites: []string{"phuong-b", "khong-co"}}, "no site": {Sites: []string{}},
		"category": {Category: "thong-bao"}, "tag": {Tag: "hè"}, "a tag that is a category": {Tag: "thong-bao"}, "language": {Language: "en"},
		"urgency": {Urgency: 2}, "time": {Since: start.Add(2 * time.Minute), Until: start.Add(4 * time.Minute)},
		"several": {Sites: []string{"phuong-a"}, Category: "van-hoa", Tag: "lịch", Language: "vi", Urgency: 4, Status: events.StatusLive, Since: start.Add(time.Minute)},
	} {
		var want []streams.Key
		for _, a := range made {
			if q.Matches(a) {
				want = append(want, streams.KeyOf(a.Site, a.ID))
			}
		}
		for _, n := range []int{1, 7, 100} {
			got := all(t, x, q, n, nil)
			if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Errorf("%s, pages of %d: %d articles, expected %d", name, n, len(got), len(want))
			}
		}
		if !q.Since.IsZero() { // changes are not selected by the time of publication
			continue
		}
		hits, _, err := x.Changes(q, 0, 100)
		if err != nil || len(hits) != len(want) || !slices.IsSortedFunc(hits, func(a, b listing.Hit) int { return int(a.Seq) - int(b.Seq) }) {
			t.Errorf("%s: %d changes, %v, expected %d", name, len(hits), err, len(want))
		}
	}
	if first := all(t, x, listing.Query{}, 1, nil)[0]; first != streams.KeyOf(gone.Site, gone.ID) {
		t.Errorf("the first is %s, expected the one published last", first)
	}
	if key, ok := x.ByURL("http://a.example/tin-7/"); !ok || key != "phuong-b.tin-7" {
		t.Errorf("by its address: %q", key)
	}
}

// The number of articles is a flag: 100,000 take half a minute.
func TestNoneIsMissedAndNoneDoubledWhileArticlesAreEdited(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	n := *howMany
	made := make([]*article.Article, n)
	for i := range made {
		made[i] = sample(i)
	}
	put(t, js, made...)
	began := time.Now()
	x := run(t, js)
	t.Logf("filled with %d articles in %s", n, time.Since(began).Round(time.Millisecond))

	random := rand.New(rand.NewPCG(7, 7))
	added := 0
	edit := func() {
		var changed []*article.Article
		for range 5 {
			a := made[random.IntN(n)]
			a.Number++
			switch random.IntN(4) {
			case 0: // an edit that moves it, to anywhere, or back
				a.Published = start.Add(time.Duration(random.IntN(n/7+1)) * time.Minute)
			case 1:
				a.Tags = []string{fmt.Sprint("thẻ-", random.IntN(9))}
			}
			changed = append(changed, a)
		}
		added++
		changed = append(changed, sample(n+added))
		put(t, js, changed...)
	}
	listed := all(t, x, listing.Query{Status: events.StatusLive}, 1+n/12, edit)
	seen := map[streams.Key]int{}
	for _, k := range listed {
		seen[k]++
	}
	for i := range made {
		if got := seen[streams.KeyOf(made[i].Site, made[i].ID)]; got != 1 {
			t.Errorf("%s was listed %d times", made[i].ID, got)
		}
	}
	// What follows the changes gets every article, and has its latest version in the end.
	stream, err := js.Stream(t.Context(), streams.Articles)
	if err != nil {
		t.Fatal(err)
	}
	held := map[streams.Key]uint64{}
	for at := uint64(0); at < stream.CachedInfo().State.LastSeq; {
		hits, upTo, err := x.Changes(listing.Query{}, at, 1+n/12)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hits {
			if h.Seq <= at {
				t.Fatalf("change %d after %d", h.Seq, at)
			}
			held[h.Key] = h.Seq
		}
		at = upTo
		if random.IntN(3) == 0 {
			edit()
			if stream, err = js.Stream(t.Context(), streams.Articles); err != nil {
				t.Fatal(err)
			}
		}
	}
	log, err := streams.OpenLog(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range log.Walk(t.Context(), "*", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if held[e.Key] != e.Seq {
			t.Errorf("%s is held at %d, expected %d", e.Key, held[e.Key], e.Seq)
		}
	}
}
