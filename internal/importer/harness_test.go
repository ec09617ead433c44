package importer_test

import (
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/importer"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

const ward = "phuong-cau-go"

var now = time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC)

// bench is a Loa that is imported into, without its workers: what it is sent stays in the inbox.
type bench struct {
	t   *testing.T
	js  jetstream.JetStream
	log *streams.Log
}

func open(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, js: loatest.NATS(t)}
	var err error
	if b.log, err = streams.OpenLog(t.Context(), b.js); err != nil {
		t.Fatal(err)
	}
	return b
}

// outcome is what came of a run.
type outcome struct {
	results map[string]importer.Result // by article
	counts  string                     // "2 imported, 1 unchanged"
	err     error
}

func (b *bench) importer(source string, out *outcome, change ...func(*importer.Options)) *importer.Importer {
	b.t.Helper()
	out.results = map[string]importer.Result{}
	o := importer.Options{JS: b.js, Log: b.log, Source: source, Now: func() time.Time { return now },
		Report: func(r importer.Result) { out.results[r.Item.Article.ID] = r }}
	for _, c := range change {
		c(&o)
	}
	im, err := importer.New(b.t.Context(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	return im
}

func counts(im *importer.Importer) string {
	var parts []string
	for _, o := range importer.Outcomes() {
		if n := im.Count(o); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	return strings.Join(parts, ", ")
}

// run imports items.
func (b *bench) run(source string, items iter.Seq2[importer.Item, error], change ...func(*importer.Options)) outcome {
	b.t.Helper()
	var out outcome
	im := b.importer(source, &out, change...)
	out.err = im.Run(b.t.Context(), items)
	out.counts = counts(im)
	return out
}

// last is the newest event about an article.
func (b *bench) last(id string) events.Event {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), streams.Events)
	if err != nil {
		b.t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(b.t.Context(), events.Subject(ward, id))
	if err != nil {
		b.t.Fatalf("the last event about %s: %v", id, err)
	}
	e, err := events.Parse(m.Header, m.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

// portal is an old portal: what it serves at which path, and what it was asked for.
type portal struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]http.HandlerFunc // by path and query
	asked []string
}

func newPortal(t *testing.T) *portal {
	t.Helper()
	p := &portal{pages: map[string]http.HandlerFunc{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.URL.RequestURI())
		page := p.pages[r.URL.RequestURI()]
		p.mu.Unlock()
		if page == nil {
			http.NotFound(w, r)
			return
		}
		page(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// serve has a path answered with a text, in which {base} is the portal's address.
func (p *portal) serve(path, mediaType, text string, header ...string) {
	p.handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		fmt.Fprint(w, strings.ReplaceAll(text, "{base}", p.URL))
	})
}

func (p *portal) handle(path string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages[path] = h
}

func (p *portal) feed(path string) *importer.Feed {
	return &importer.Feed{Fetcher: importer.HurriedFetcher(), URL: p.URL + path, Site: ward}
}

// rss is a feed of items.
func rss(channel string, items ...string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:media="http://search.yahoo.com/mrss/" xmlns:atom="http://www.w3.org/2005/Atom" xmlns:fh="http://purl.org/syndication/history/1.0" xmlns:at="http://purl.org/atompub/tombstones/1.0"><channel>
<title>Phường Cầu Gỗ</title><link>https://caugo.example.vn/</link><description>Tin phường</description><language>vi-VN</language>` + channel + strings.Join(items, "\n") + `</channel></rss>`
}

// entry is an item of a feed, published on a day of October 2026.
func entry(n int, title string) string {
	return fmt.Sprintf(`<item><title>%s</title><link>/tin/%d</link><guid isPermaLink="false">tin-%d</guid><pubDate>%02d/10/2026 | 09:30</pubDate>
<description><![CDATA[<p>Nội dung của tin %d, <a href="/van-ban">văn bản</a>.</p>]]></description></item>`, title, n, n, n, n)
}
