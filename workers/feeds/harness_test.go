package feeds

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmcdole/gofeed"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/loatest/faultproxy"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// city is the catalog of the sample's sites.
func city(t testing.TB, s Settings) *Catalog {
	t.Helper()
	var sites []site.Site
	for _, one := range sample.Sites() {
		sites = append(sites, site.Site{ID: one.ID, Name: one.Name, Parent: one.Parent, URL: one.URL})
	}
	tree, err := site.New(sites)
	if err != nil {
		t.Fatal(err)
	}
	if s.PublicURL == "" {
		s.PublicURL = "https://loa.example"
	}
	c, err := NewCatalog(tree, s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// canonical is what intake makes of a snapshot, its pictures stored.
func canonical(t testing.TB, in events.Article) *article.Article {
	t.Helper()
	base, err := url.Parse(in.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := article.Sanitise(in.Body, article.SanitiseOptions{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	a := &article.Article{
		GUID: article.NewGUID(in.Site, in.ID), Site: in.Site, ID: in.ID, Version: article.Version{Number: in.Version},
		Status: events.StatusLive, URL: in.URL, Title: in.Title, Summary: in.Summary, Body: body, Language: "vi",
		Authors: in.Authors, Categories: in.Categories, Tags: in.Tags, Urgency: 5, Published: in.Published, Updated: in.Published,
		Correction: in.Correction, Source: in.Source, Places: in.Places, Rights: in.Rights,
		Accepted: in.Published.Add(time.Minute),
	}
	for _, at := range in.Attachments {
		a.Attachments = append(a.Attachments, article.Attachment{Attachment: at})
	}
	if a.Summary == "" {
		a.Summary = article.Summary(a.Body, article.SummaryLength)
	}
	if in.Updated != nil {
		a.Updated = *in.Updated
		a.Accepted = in.Updated.Add(time.Minute)
	}
	for _, img := range in.Images {
		img.Data = nil
		sum := sha256.Sum256([]byte(in.ID + img.Alt))
		hash := hex.EncodeToString(sum[:])
		stored := article.Image{Image: img, SHA256: hash, Original: events.Rendition{
			URL: "media/" + hash + "/original.jpg", MediaType: "image/jpeg", Width: 4000, Height: 3000, Size: 2_500_000}}
		for _, r := range []events.Rendition{
			{URL: "/w320.jpg", MediaType: "image/jpeg", Width: 320, Height: 240, Size: 24_000},
			{URL: "/w640.jpg", MediaType: "image/jpeg", Width: 640, Height: 480, Size: 80_000},
			{URL: "/w1280.jpg", MediaType: "image/jpeg", Width: 1280, Height: 960, Size: 250_000},
			{URL: "/w1280.webp", MediaType: "image/webp", Width: 1280, Height: 960, Size: 180_000},
		} {
			r.URL = "media/" + hash + r.URL
			stored.Renditions = append(stored.Renditions, r)
		}
		a.Images = append(a.Images, stored)
	}
	for _, c := range a.Categories {
		a.Ever.Categories = append(a.Ever.Categories, c.ID)
	}
	return a
}

// samples are the city's articles as the log holds them, the corrected one included.
func samples(t testing.TB) []*article.Article {
	var all []*article.Article
	corrected := sample.Corrected("https://media.example")
	for _, in := range sample.Articles("https://media.example") {
		if in.Site == corrected.Site && in.ID == corrected.ID {
			in = corrected
		}
		all = append(all, canonical(t, in))
	}
	return all
}

// many are n articles of one site, a minute apart, the newest last.
func many(t testing.TB, site string, n int) []*article.Article {
	t.Helper()
	var all []*article.Article
	for in := range sample.Many(n) {
		in.Site = site
		all = append(all, canonical(t, in))
	}
	return all
}

// world is NATS, S3 and feeds. S3 is reached through a proxy that can fail.
type world struct {
	t       testing.TB
	js      jetstream.JetStream
	log     *streams.Log
	objects *objects.Store
	s3      *faulty
	seqs    map[streams.Key]uint64
	metrics *prometheus.Registry
	*Feeds
}

func newWorld(t testing.TB, s Settings) *world {
	t.Helper()
	w := &world{t: t, js: loatest.NATS(t), seqs: map[streams.Key]uint64{}}
	var err error
	if w.log, err = streams.OpenLog(t.Context(), w.js); err != nil {
		t.Fatal(err)
	}
	server, err := embedded.StartS3(t.Context(), embedded.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	w.s3 = newFaulty(t, server.Endpoint())
	login := server.Credentials()
	w.objects, err = objects.Open(t.Context(), objects.Options{
		Endpoint: w.s3.endpoint, AccessKey: login.Name, SecretKey: login.Secret.Reveal(), Bucket: "loa"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.objects.Close)
	w.Feeds = w.another(city(t, s))
	return w
}

// another is a worker in another process, or the one after a restart: it remembers nothing.
func (w *world) another(c *Catalog) *Feeds {
	w.t.Helper()
	w.metrics = prometheus.NewRegistry()
	f, err := New(w.t.Context(), Options{JS: w.js, Objects: w.objects, Catalog: c, Log: zerolog.Nop(), Metrics: w.metrics})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// categoryFeed is the id of a feed of one category.
func categoryFeed(site, category string) string {
	return site + separator + inCategory + events.Token(category)
}

// put writes versions to the log and returns their flags.
func (w *world) put(articles ...*article.Article) []reconcile.Flag {
	w.t.Helper()
	var flags []reconcile.Flag
	for _, a := range articles {
		key := streams.KeyOf(a.Site, a.ID)
		seq, err := w.log.Put(w.t.Context(), a, w.seqs[key])
		if err != nil {
			w.t.Fatal(err)
		}
		w.seqs[key] = seq
		flags = append(flags, reconcile.Flag{Class: streams.Normal, Kind: FlagKind, Key: string(key), Seq: seq})
	}
	return flags
}

// level puts the versions into the log and has the feed brought level with it.
func (w *world) level(feed string, articles ...*article.Article) {
	w.t.Helper()
	if err := w.Reconcile(w.t.Context(), feed, w.put(articles...)); err != nil {
		w.t.Fatal(err)
	}
}

// object is a stored rendering.
func (w *world) object(feed string, format int) objects.Object {
	w.t.Helper()
	o, err := w.objects.Get(w.t.Context(), Feed{ID: feed}.object(formats[format].name), 64<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// shows gives the titles in a feed, having made sure that every format has the same.
func (w *world) shows(feed string) []string {
	w.t.Helper()
	var first []string
	for i := range formats {
		titles := titlesOf(parse(w.t, w.object(feed, i).Body))
		if i > 0 && strings.Join(titles, "\n") != strings.Join(first, "\n") {
			w.t.Errorf("%s shows %q, %s %q", formats[i].name, titles, formats[0].name, first)
		}
		first = titles
	}
	return first
}

func (w *world) mustShow(feed string, want ...*article.Article) {
	w.t.Helper()
	got, titles := w.shows(feed), titlesFrom(want)
	if strings.Join(got, "\n") != strings.Join(titles, "\n") {
		w.t.Errorf("%s shows %d:\n%s\nwant %d:\n%s", feed, len(got), strings.Join(got, "\n"), len(titles), strings.Join(titles, "\n"))
	}
}

// renders is how often RSS was rendered by the latest worker.
func (w *world) renders() int {
	return int(testutil.ToFloat64(w.Feeds.metrics.renders.WithLabelValues("rss")))
}

func titlesFrom(articles []*article.Article) []string {
	var titles []string
	for _, a := range articles {
		if !a.Live() {
			titles = append(titles, "Đã gỡ: "+a.Title)
			continue
		}
		titles = append(titles, a.Title)
	}
	return titles
}

func titlesOf(f *gofeed.Feed) []string {
	var titles []string
	for _, item := range f.Items {
		titles = append(titles, item.Title)
	}
	return titles
}

func parse(t testing.TB, doc []byte) *gofeed.Feed {
	t.Helper()
	f, err := gofeed.NewParser().Parse(bytes.NewReader(doc))
	if err != nil {
		t.Fatalf("gofeed: %v in\n%.2000s", err, doc)
	}
	return f
}

// withdrawn is the version of a that withdraws it, a moment ago.
func withdrawn(a *article.Article) *article.Article {
	w := *a
	w.Number++
	w.Status = events.StatusWithdrawn
	w.Gallery = a.GalleryPictures()
	w.Body, w.Summary, w.Images, w.Correction = "", "", nil, ""
	w.Accepted = time.Now().UTC().Truncate(time.Microsecond)
	w.Withdrawal = &events.BulletinWithdrawal{Reason: "Đăng nhầm <bản nháp>.", WithdrawnAt: w.Accepted.Add(-time.Second)}
	return &w
}

// changed is the next version of a, with another title.
func changed(a *article.Article, title string) *article.Article {
	c := *a
	c.Number++
	c.Title = title
	c.Updated = sample.Base
	c.Accepted = sample.Base.Add(time.Minute)
	return &c
}

// newestFirst turns what many gives into the order of a feed.
func newestFirst(all []*article.Article) []*article.Article {
	out := make([]*article.Article, 0, len(all))
	for i := range all {
		out = append(out, all[len(all)-1-i])
	}
	return out
}

// faulty is a proxy before S3 that fails when told to.
type faulty struct {
	endpoint string

	mu        sync.Mutex
	failAt    int // the request to fail, counted from 1; 0: none
	persisted bool
	seen      []string // method and path of each request
}

func newFaulty(t testing.TB, endpoint string) *faulty {
	f := &faulty{}
	proxy := faultproxy.Start(t, endpoint)
	proxy.Set(f.handle)
	f.endpoint = proxy.Addr
	return f
}

func (f *faulty) handle(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	f.mu.Lock()
	f.seen = append(f.seen, r.Method+" "+r.URL.Path)
	fail, persist := len(f.seen) == f.failAt, f.persisted
	f.mu.Unlock()
	if !fail {
		pass.ServeHTTP(w, r)
		return
	}
	if persist {
		pass.ServeHTTP(httptest.NewRecorder(), r)
	}
	w.WriteHeader(http.StatusServiceUnavailable)
}

// fail makes the nth request from now on fail, after its effect if persisted.
func (f *faulty) fail(nth int, persisted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, f.failAt, f.persisted = nil, nth, persisted
}

// writes is how many objects were written since the last call of fail.
func (f *faulty) writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, request := range f.seen {
		if strings.HasPrefix(request, http.MethodPut) {
			n++
		}
	}
	return n
}

// prefillAtOnce is how many messages the client lets wait for their acknowledgements.
const prefillAtOnce = 1000

// prefill puts many new articles into the log, without waiting for each.
func (w *world) prefill(articles []*article.Article) []reconcile.Flag {
	w.t.Helper()
	var all []reconcile.Flag
	for part := range slices.Chunk(articles, prefillAtOnce) {
		all = append(all, w.prefillPart(part)...)
	}
	return all
}

func (w *world) prefillPart(articles []*article.Article) []reconcile.Flag {
	acks := make([]jetstream.PubAckFuture, len(articles))
	for i, a := range articles {
		data, err := a.Encode()
		if err == nil {
			acks[i], err = w.js.PublishAsync(streams.ArticleSubject(streams.KeyOf(a.Site, a.ID)), data)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	<-w.js.PublishAsyncComplete()
	flags := make([]reconcile.Flag, len(articles))
	for i, a := range articles {
		select {
		case ack := <-acks[i].Ok():
			key := streams.KeyOf(a.Site, a.ID)
			w.seqs[key] = ack.Sequence
			flags[i] = reconcile.Flag{Class: streams.Normal, Kind: FlagKind, Key: string(key), Seq: ack.Sequence}
		case err := <-acks[i].Err():
			w.t.Fatal(err)
		}
	}
	return flags
}
