package feeds

import (
	"bytes"
	"encoding/xml"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

var archivedArticles = flag.Int("archived", 250, "how many articles the test of archives publishes")

// history is what a reader has of a feed who has followed its archives.
type history struct {
	titles map[string]string // by id, of what is there
	docs   []string          // that were read, the feed first
	bodies string            // of all
}

// follow reads a feed and all of its archives, as RFC 5005 says: of two entries of one id the one
// that was updated last counts, and a tombstone removes what is older than it.
func (w *world) follow(feed string) history {
	w.t.Helper()
	type entry struct {
		ID      string    `xml:"id"`
		Title   string    `xml:"title"`
		Updated time.Time `xml:"updated"`
	}
	type document struct {
		Links []struct {
			Rel  string `xml:"rel,attr"`
			Href string `xml:"href,attr"`
		} `xml:"http://www.w3.org/2005/Atom link"`
		Updated time.Time   `xml:"http://www.w3.org/2005/Atom updated"`
		Archive *struct{}   `xml:"http://purl.org/syndication/history/1.0 archive"`
		Entries []entry     `xml:"http://www.w3.org/2005/Atom entry"`
		Gone    []tombstone `xml:"http://purl.org/atompub/tombstones/1.0 deleted-entry"`
	}
	h := history{titles: map[string]string{}}
	latest, gone := map[string]time.Time{}, map[string]time.Time{}
	base := w.catalog.settings.PublicURL + "/"
	read, from, all := base+Feed{ID: feed}.object("feed.atom"), "", strings.Builder{}
	for current := read; read != ""; {
		o, err := w.objects.Get(w.t.Context(), strings.TrimPrefix(read, base), 64<<20)
		if err != nil {
			w.t.Fatalf("%s leads to %s: %v", from, read, err)
		}
		var d document
		if err := xml.Unmarshal(o.Body, &d); err != nil {
			w.t.Fatal(err)
		}
		h.docs = append(h.docs, strings.TrimPrefix(read, base))
		all.Write(o.Body)
		links := map[string]string{}
		for _, l := range d.Links {
			links[l.Rel] = l.Href
		}
		if links["self"] != read || (read == current) == (d.Archive != nil) || d.Archive != nil && links["current"] != current {
			w.t.Errorf("%s is an archive: %t, and links to %v", read, d.Archive != nil, links)
		}
		if from != current && links["next-archive"] != from {
			w.t.Errorf("%s says that %q follows it, which is %q", read, links["next-archive"], from)
		}
		for _, e := range d.Entries {
			if e.Updated.After(d.Updated) && d.Archive != nil {
				w.t.Errorf("%s is of %v, its entry %s of %v", read, d.Updated, e.ID, e.Updated)
			}
			if t, ok := latest[e.ID]; !ok || e.Updated.After(t) {
				latest[e.ID], h.titles[e.ID] = e.Updated, e.Title
			}
		}
		for _, g := range d.Gone {
			if g.When.After(gone[g.Ref]) {
				gone[g.Ref] = g.When
			}
		}
		from, read = read, links["prev-archive"]
	}
	for id, when := range gone {
		if when.After(latest[id]) {
			delete(h.titles, id)
		}
	}
	h.bodies = all.String()
	return h
}

// mustHave checks a reader's history against the articles, each in its last version.
func (w *world) mustHave(feed string, articles []*article.Article) history {
	w.t.Helper()
	f, _ := w.catalog.Parse(feed)
	h := w.follow(feed)
	faults := 0
	fault := func(format string, args ...any) {
		if faults++; faults <= 10 {
			w.t.Errorf(feed+": "+format, args...)
		}
	}
	live := 0
	for _, a := range articles {
		title, has := h.titles[a.GUID]
		switch shown := w.catalog.Matches(f, a); {
		case shown != has:
			fault("article %s of %s is to be there: %t; it is: %t", a.ID, a.Published, shown, has)
		case shown && title != a.Title:
			fault("article %s is %q, want %q", a.ID, title, a.Title)
		case shown:
			live++
		case !a.Live() && strings.Contains(h.bodies, "dấu của "+a.ID+"."):
			fault("the body of article %s, which was withdrawn, is still there", a.ID)
		}
	}
	if live != len(h.titles) {
		fault("%d articles are there, want %d", len(h.titles), live)
	}
	return h
}

// A story at random, with workers that die: whatever happens, a reader who follows the archives
// has each live article once, in its last version, and nothing of any other.
func TestArchivesHoldEveryLiveArticle(t *testing.T) {
	t.Parallel()
	n := *archivedArticles
	if testing.Short() {
		n = min(n, 100)
	}
	rng := rand.New(rand.NewPCG(1, 5005))
	w := newWorld(t, Settings{Shape: Shape{Page: 10}})
	all := many(t, ward, n)
	start := time.Date(2026, 1, 31, 16, 0, 0, 0, time.UTC) // the last hour of January there
	for i, a := range all {
		a.Published = start.Add(time.Duration(i) * 300 * 24 * time.Hour / time.Duration(n))
		a.Updated, a.Accepted = a.Published, a.Published
		a.Body = fmt.Sprintf("<p>%s dấu của %s.</p>", a.Summary, a.ID)
		a.Ever.Published = []time.Time{a.Published}
	}
	now := start.Add(400 * 24 * time.Hour)
	next := func(i int, change func(a *article.Article)) *article.Article {
		a := *all[i]
		now = now.Add(time.Second)
		a.Number++
		a.Updated, a.Accepted = now, now
		change(&a)
		if !slices.ContainsFunc(a.Ever.Published, a.Published.Equal) {
			a.Ever.Published = append(slices.Clone(a.Ever.Published), a.Published)
		}
		all[i] = &a
		return &a
	}
	category := all[0].Categories[0]
	in := categoryFeed(ward, category.ID)
	waiting := map[string][]reconcile.Flag{}
	say := func(articles ...*article.Article) {
		for _, flag := range w.put(articles...) {
			for _, feed := range []string{ward, in} {
				waiting[feed] = append(waiting[feed], flag)
			}
		}
	}
	// level brings the feeds level, by workers of which some die.
	level := func() {
		for feed, flags := range waiting {
			for try := 0; ; try++ {
				if try < 3 && rng.IntN(4) == 0 {
					w.s3.fail(1+rng.IntN(8), rng.IntN(2) == 0)
				}
				err := w.Reconcile(t.Context(), feed, flags)
				w.s3.fail(0, false)
				if err == nil {
					break
				}
				if try > 10 {
					t.Fatal(err)
				}
				w.Feeds = w.another(w.catalog)
			}
			delete(waiting, feed)
		}
	}
	for at := 0; at < n; {
		until := min(at+1+rng.IntN(20+n/10), n)
		say(all[at:until]...)
		at = until
		for range 1 + rng.IntN(4) {
			i := rng.IntN(at)
			switch kind := rng.IntN(6); {
			case !all[i].Live():
				say(next(i, func(a *article.Article) {
					a.Status, a.Withdrawal, a.Body, a.Title = events.StatusLive, nil, "<p>Trở lại, dấu của "+a.ID+".</p>", a.Title+" (lại)"
				}))
			case kind == 0:
				say(next(i, func(a *article.Article) { // dated back, or on
					a.Title, a.Published = "Đổi ngày "+a.ID, a.Published.Add(time.Duration(rng.IntN(60*24)-40*24)*time.Hour)
				}))
			case kind == 1:
				say(next(i, func(a *article.Article) {
					if a.Categories == nil {
						a.Categories = []events.Category{category}
					} else {
						a.Categories = nil
					}
				}))
			case kind < 4:
				say(next(i, func(a *article.Article) {
					a.Status, a.Body, a.Summary = events.StatusWithdrawn, "", ""
					a.Withdrawal = &events.BulletinWithdrawal{WithdrawnAt: now}
				}))
			default:
				say(next(i, func(a *article.Article) { a.Title = fmt.Sprintf("Sửa %d của %s", a.Number, a.ID) }))
			}
		}
		level()
	}
	h := w.mustHave(ward, all)
	w.mustHave(in, all)
	t.Logf("%d articles in %d archives", n, len(h.docs)-1)

	// What is complete stays as it is.
	before := map[string]objects.Info{}
	for _, doc := range h.docs {
		info, err := w.objects.Stat(t.Context(), doc)
		if err != nil {
			t.Fatal(err)
		}
		before[doc] = info
	}
	var more []*article.Article
	for i := range 12 {
		a := *all[n-1]
		a.ID = fmt.Sprintf("thêm-%d", i)
		a.Number, a.Status, a.Withdrawal, a.Title = 1, events.StatusLive, nil, "Thêm"
		a.GUID = article.NewGUID(a.Site, a.ID)
		a.Published = now.Add(time.Duration(i) * time.Minute)
		a.Ever.Published = []time.Time{a.Published}
		more = append(more, &a)
		w.level(ward, &a)
	}
	h = w.mustHave(ward, append(slices.Clone(all), more...))
	changed := 0
	for _, doc := range h.docs {
		if info, err := w.objects.Stat(t.Context(), doc); err != nil || before[doc].ETag != "" && info.ETag != before[doc].ETag {
			changed++
		}
	}
	if changed > 2 { // the feed, and the last archive, which has one after it now
		t.Errorf("%d of %d documents changed for new articles", changed, len(before))
	}
}

// behind gives the flags that a comparison of a feed with the log has raised.
func (w *world) behind(feed string) (flags []reconcile.Flag) {
	w.t.Helper()
	ix := NewIndexes(w.js, w.catalog)
	ix.Configured = true
	for e, err := range w.log.Walk(w.t.Context(), "*", 0) {
		if err == nil {
			err = ix.Compare(w.t.Context(), []streams.Entry{e}, func(id string, e streams.Entry, level bool) {
				if id == feed && !level {
					flags = append(flags, reconcile.Flag{Kind: FlagKind, Key: string(e.Key), Seq: e.Seq})
				}
			})
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return flags
}

// What an earlier version had dropped, or was lost with a bucket, a comparison finds and puts back;
// what such archives showed, and has been withdrawn since, is in none.
func TestArchivesAreFilledFromAnOlderLog(t *testing.T) {
	if testing.Short() {
		t.Skip("renders hundreds of articles")
	}
	t.Parallel()
	w := newWorld(t, Settings{Shape: Shape{Page: 5}})
	all := many(t, ward, reserve+150)
	for i, a := range all {
		a.Published = a.Published.Add(time.Duration(i-len(all)) * 12 * time.Hour)
		a.Body = fmt.Sprintf("<p>dấu của %s.</p>", a.ID)
	}
	w.level(ward, all...)
	w.mustHave(ward, all)
	if flags := w.behind(ward); len(flags) > 0 {
		t.Errorf("%d articles are missed: %v", len(flags), flags)
	}
	if lacks, err := NewIndexes(w.js, w.catalog).Lacking(t.Context()); err != nil || !lacks.Archives {
		t.Errorf("archives lack nothing: %+v, %v", lacks, err)
	}

	h, err := w.readIndex(t.Context(), ward)
	if err != nil {
		t.Fatal(err)
	}
	h.Archived, h.Months, h.Archives = nil, nil, 0
	if err := w.writeIndex(t.Context(), Feed{ID: ward}, h); err != nil {
		t.Fatal(err)
	}
	bucket, err := w.js.Stream(t.Context(), "KV_"+streams.ArchivesBucket)
	if err == nil {
		err = bucket.Purge(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{3, 40, 41, 160, 298} {
		all[i] = withdrawn(all[i])
		w.put(all[i])
	}
	w.Feeds = w.another(w.catalog)
	if err := w.Reconcile(t.Context(), ward, w.behind(ward)); err != nil {
		t.Fatal(err)
	}
	w.mustHave(ward, all)
	for info, err := range w.objects.List(t.Context(), "feeds/"+ward+"/archive/") {
		if err != nil {
			t.Fatal(err)
		}
		o, err := w.objects.Get(t.Context(), info.Key, 64<<20)
		if err != nil || strings.Contains(string(o.Body), "dấu của "+all[40].ID+".") {
			t.Errorf("%s shows what was withdrawn, error %v", info.Key, err)
		}
	}
	if flags := w.behind(ward); len(flags) > 0 {
		t.Errorf("%d articles are missed: %v", len(flags), flags)
	}

	// Archives follow the settings when they are compared.
	w.Feeds = w.another(city(t, Settings{Shape: Shape{Page: 5}, PublicURL: "https://moi.example"}))
	if err := w.Reconcile(t.Context(), ward, w.behind(ward)); err != nil {
		t.Fatal(err)
	}
	w.mustHave(ward, all)
}

// Without its index a feed knows nothing of what it shows: none of it may stay until somebody publishes
// it again.
func TestWithdrawalReachesWhatALostIndexHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{Shape: Shape{Page: 5}})
	all := many(t, ward, 12)
	for i, a := range all {
		a.Published = a.Published.AddDate(0, i/6-2, 0)
		a.Body = fmt.Sprintf("<p>dấu của %s.</p>", a.ID)
	}
	w.level(ward, all...)
	if docs := w.mustHave(ward, all).docs; len(docs) < 2 {
		t.Fatalf("there are no archives, but %q", docs)
	}
	for _, bucket := range []string{streams.FeedsBucket, streams.ArchivesBucket} {
		s, err := w.js.Stream(t.Context(), "KV_"+bucket)
		if err == nil {
			err = s.Purge(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Feeds = w.another(w.catalog)
	all[0], all[11] = withdrawn(all[0]), withdrawn(all[11])
	w.level(ward, all[0], all[11])
	for info, err := range w.objects.List(t.Context(), "feeds/"+ward+"/") {
		if err != nil {
			t.Fatal(err)
		}
		o, err := w.objects.Get(t.Context(), info.Key, 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []*article.Article{all[0], all[11]} {
			if strings.Contains(string(o.Body), "dấu của "+a.ID+".") {
				t.Errorf("%s shows article %s, which was withdrawn", info.Key, a.ID)
			}
		}
	}
	if got := w.tombstonesOf(ward); len(got) != 2 {
		t.Errorf("readers are told of %d withdrawals: %+v", len(got), got)
	}
	// A comparison brings the others back.
	if err := w.Reconcile(t.Context(), ward, w.behind(ward)); err != nil {
		t.Fatal(err)
	}
	w.mustHave(ward, all)
}

// An object store that comes back from a backup has what was withdrawn since; the index does not tell.
func TestFeedsAreComparedWithWhatIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Settings{Shape: Shape{Page: 5}})
	all := many(t, ward, 18)
	for i, a := range all {
		a.Published = a.Published.AddDate(0, i/6-3, 0)
		a.Body = fmt.Sprintf("<p>dấu của %s.</p>", a.ID)
	}
	w.level(ward, all...)
	type stored struct {
		body []byte
		meta objects.Meta
	}
	backup := map[string]stored{}
	for info, err := range w.objects.List(t.Context(), "feeds/"+ward+"/") {
		if err != nil {
			t.Fatal(err)
		}
		o, err := w.objects.Get(t.Context(), info.Key, 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		backup[info.Key] = stored{o.Body, objects.Meta{ContentType: o.ContentType, CacheControl: o.CacheControl, User: o.User}}
	}
	all[0], all[17] = withdrawn(all[0]), withdrawn(all[17])
	w.level(ward, all[0], all[17])
	looked := func() {
		t.Helper()
		if err := w.Reconcile(t.Context(), ward, []reconcile.Flag{{Key: Anew}}); err != nil {
			t.Fatal(err)
		}
	}
	before := w.object(ward, formatAtom)
	looked()
	if after := w.object(ward, formatAtom); after.ETag != before.ETag || after.Modified != before.Modified {
		t.Error("what is right was stored again")
	}

	for key, o := range backup {
		if _, err := w.objects.Put(t.Context(), key, o.body, o.meta); err != nil {
			t.Fatal(err)
		}
	}
	var lost string
	for key := range backup {
		if strings.HasSuffix(key, ".rss") || lost == "" && strings.Contains(key, archivePrefix) {
			lost = key
			if err := w.objects.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	looked()
	w.mustHave(ward, all)
	if got := w.shows(ward); !slices.Contains(got, "Đã gỡ: "+all[17].Title) {
		t.Errorf("shows %q", got)
	}
	made, err := NewIndexes(w.js, w.catalog).Made(t.Context(), []string{ward})
	if err != nil || !slices.Equal(made, []string{ward}) {
		t.Errorf("there are %q, error %v", made, err)
	}
	if made, err := NewIndexes(w.js, w.catalog).Made(t.Context(), []string{sample.ChoMoi}); err != nil || len(made) > 0 {
		t.Errorf("there are %q of another site, error %v", made, err)
	}
}

// Articles are rendered for an archive alone, or were for the feed: that must not be seen.
func TestArchiveIsTheSameWhateverIsInMemory(t *testing.T) {
	c := city(t, Settings{})
	f, _ := c.Parse(ward)
	p := &heldPart{month: "2026-11", number: 2}
	var known, alone view
	for i, a := range many(t, ward, 12) {
		a.Body = "<p>" + strings.Repeat("Một đoạn & \"một\" đoạn <b>nữa</b>. ", 7000) + "</p>"
		known.items = append(known.items, must(c.item(lookFull, a, uint64(i))))
		alone.items = append(alone.items, must(c.item(lookFull, a, uint64(i), formatAtom)))
	}
	months := []month{{"2026-10", 3}, {"2026-11", 3}}
	was, is := must(c.renderArchive(f, "", months, p, known)), must(c.renderArchive(f, "", months, p, alone))
	if !bytes.Equal(was, is) {
		t.Error("it differs")
	}
	for _, link := range []string{"2026-11.atom\" rel=\"prev-archive\"", "2026-11-3.atom\" rel=\"next-archive\""} {
		if !bytes.Contains(is, []byte(link)) {
			t.Errorf("no link %s", link)
		}
	}
}
