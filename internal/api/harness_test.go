package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/api"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/keys"
	"github.com/loa-syndication/loa/internal/listing"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// bench is an API on an embedded NATS, with the keys of a few partners.
type bench struct {
	t     testing.TB
	js    jetstream.JetStream
	log   *streams.Log
	keys  *keys.Registry
	api   *api.API
	index *listing.Index
	url   string

	whole, district, brief string // keys: of everything, of a district, of a district's summaries
}

var day = time.Date(2026, 11, 20, 8, 30, 0, 0, time.FixedZone("+07", 7*3600))

func start(t testing.TB, change func(*api.Options)) *bench {
	t.Helper()
	b := &bench{t: t, js: loatest.NATS(t)}
	ctx := t.Context()
	var err error
	if b.log, err = streams.OpenLog(ctx, b.js); err != nil {
		t.Fatal(err)
	}
	if b.keys, err = keys.Open(ctx, b.js, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.keys.Close)
	sites, err := site.New([]site.Site{{ID: "thanh-pho", Name: "Thành phố An Hòa", URL: "https://anhoa.example/"},
		{ID: "quan", Name: "Quận Bến Sông", Parent: "thanh-pho", URL: "https://bensong.example/"},
		{ID: "phuong", Name: "Phường Cầu Gỗ", Parent: "quan", URL: "https://caugo.example/"}})
	if err != nil {
		t.Fatal(err)
	}
	o := api.Options{Articles: b.log, Index: listing.New(b.js, zerolog.Nop()), Keys: b.keys, Sites: sites,
		Feeds: func(context.Context) ([]gateway.FeedInfo, error) {
			return []gateway.FeedInfo{{ID: "site-quan", Title: "Quận Bến Sông", Site: "quan", Kind: "site"}, {ID: "site-thanh-pho", Title: "Thành phố", Site: "thanh-pho", Kind: "site"}}, nil
		},
		MediaURL: "https://cdn.example/", Public: api.PublicSummary, Rate: 1000, PublicRate: 1000, Log: zerolog.Nop()}
	srv := httptest.NewUnstartedServer(nil)
	o.PublicURL = "http://" + srv.Listener.Addr().String() + "/"
	if change != nil {
		change(&o)
	}
	b.index = o.Index
	if b.api, err = api.New(o); err != nil {
		t.Fatal(err)
	}
	running, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { b.api.Run(running); close(done) }()
	g, err := gateway.New(gateway.Options{Articles: b.log, Sites: sites, PublicURL: o.PublicURL, Mounts: b.api.Mounts(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = g.Handler()
	srv.Start()
	t.Cleanup(func() { cancel(); srv.Close(); <-done })
	b.url = srv.URL
	b.whole = b.key(keys.Key{Name: "Thông tấn", Content: keys.ContentFull})
	b.district = b.key(keys.Key{Name: "Báo quận", Content: keys.ContentFull, Sites: []string{"quan"}})
	b.brief = b.key(keys.Key{Name: "Trang tin", Sites: []string{"quan"}})
	loatest.Eventually(t, "the index to be filled", func() bool { return o.Index.Ready() == nil })
	return b
}

// key makes one, and waits until it is known.
func (b *bench) key(k keys.Key) string {
	b.t.Helper()
	k.Kind = keys.KindPartner
	made, text, err := b.keys.Add(b.t.Context(), k, nil, "test")
	if err != nil {
		b.t.Fatal(err)
	}
	loatest.Eventually(b.t, "the key to be known", func() bool { return b.keys.Valid(made.ID) })
	return text.Reveal()
}

// an makes an article.
func an(site, id string, change func(*article.Article)) *article.Article {
	a := &article.Article{GUID: article.NewGUID(site, id), Site: site, ID: id, Version: article.Version{Number: 1}, Status: events.StatusLive,
		URL: "https://" + site + ".example/" + id, Title: "Lịch cắt nước " + id, Summary: "Công ty cấp nước thông báo.",
		Body: `<p>Từ 8 giờ đến <b>11 giờ</b>.</p><p><img src="loa-media:media/abc/w640.jpg" alt="Đường ống"></p>`, Language: "vi", Urgency: 5,
		Authors:    []events.Author{{Name: "Nguyễn Thị Hà"}},
		Categories: []events.Category{{ID: "thong-bao", Label: "Thông báo"}}, Tags: []string{"nước"}, Published: day, Updated: day, Accepted: day,
		Images: []article.Image{{Image: events.Image{Role: events.RoleGallery, Alt: "Khác"}, SHA256: "def", Original: events.Rendition{URL: "media/def/original.jpg", Width: 900, Height: 600, MediaType: "image/jpeg"}},
			{Image: events.Image{Role: events.RoleLead, Alt: "Đường ống"}, SHA256: "abc", Original: events.Rendition{URL: "media/abc/original.jpg", Width: 1280, Height: 720, MediaType: "image/jpeg"}}},
	}
	if change != nil {
		change(a)
	}
	return a
}

// put writes an article over what there is, and waits until the API knows it.
func (b *bench) put(a *article.Article) uint64 {
	b.t.Helper()
	last := uint64(0)
	if e, err := b.log.Latest(b.t.Context(), streams.KeyOf(a.Site, a.ID)); err == nil {
		last = e.Seq
		a.Number = e.Number + 1
	}
	seq, err := b.log.Put(b.t.Context(), a, last)
	if err != nil {
		b.t.Fatal(err)
	}
	return seq
}

// answer is what the API said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (b *bench) get(key, path string, header ...string) answer {
	b.t.Helper()
	return b.do(http.MethodGet, key, path, header...)
}

func (b *bench) do(method, key, path string, header ...string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, body}
}

// into reads a JSON answer, which must have the status.
func (a answer) into(t testing.TB, status int, v any) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, expected %d: %s", a.status, status, a.body)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
}

// refused checks a problem, and that it names the parameter.
func (a answer) refused(t testing.TB, status int, location string) {
	t.Helper()
	var p struct {
		Title  string
		Status int
		Detail string
		Errors []struct{ Location, Message string }
	}
	a.into(t, status, &p)
	if p.Status != status || p.Title == "" || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("no problem: %s %s", a.header.Get("Content-Type"), a.body)
	}
	if location != "" && (len(p.Errors) != 1 || p.Errors[0].Location != location || p.Errors[0].Message == "") {
		t.Errorf("expected a fault at %s: %s", location, a.body)
	}
}

type listed struct {
	Articles []map[string]any
	Next     string
}

func (l listed) ids() string {
	var ids []string
	for _, a := range l.Articles {
		ids = append(ids, fmt.Sprint(a["id"]))
	}
	return strings.Join(ids, " ")
}

type change struct {
	Type, Cursor string
	Article      map[string]any
}

type changed struct {
	Changes []change
	Next    string
	More    bool
}

// event is one of a stream.
type event struct{ id, name, data string }

// events reads a stream, one event at a time.
func (b *bench) events(key, path string, header ...string) (next func() event, closed func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	if ct := res.Header.Get("Content-Type"); res.StatusCode != 200 || ct != "text/event-stream" {
		b.t.Fatalf("%s, %s", res.Status, ct)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	return func() (e event) {
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				if e.id != "" {
					return e
				}
			}
		}
		return event{}
	}, func() { cancel(); res.Body.Close() }
}

func compact(t testing.TB, v any) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
