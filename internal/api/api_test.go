package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/api"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/keys"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

func withdraw(a *article.Article) {
	a.Status, a.Body, a.Summary, a.Images = events.StatusWithdrawn, "", "", nil
	a.Withdrawal = &events.BulletinWithdrawal{Reason: "Sai số liệu", WithdrawnAt: day.Add(time.Hour)}
}

func TestAPI(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *api.Options) {
		o.Former = func(_ context.Context, e streams.Entry) ([]*article.Article, error) {
			return []*article.Article{an(e.Site, e.ID, func(a *article.Article) { a.Title, a.Images = "Bản cũ", nil })}, nil
		}
	})
	for i, id := range []string{"tin-1", "tin-2", "tin-3"} {
		b.put(an("phuong", id, func(a *article.Article) { a.Published = day.Add(time.Duration(i) * time.Hour) }))
	}
	b.put(an("quan", "van-hoa", func(a *article.Article) {
		a.Categories, a.Tags, a.Urgency, a.Published = []events.Category{{ID: "van-hoa"}}, []string{"lễ hội"}, 2, day.Add(-24*time.Hour)
	}))
	b.put(an("thanh-pho", "mat", func(a *article.Article) { a.Published = day.Add(-48 * time.Hour) }))
	b.put(an("phuong", "tin-3", func(a *article.Article) { a.Title, a.Published = "Lịch cắt nước, sửa", day.Add(2*time.Hour) }))
	last := b.put(an("phuong", "da-go", withdraw))
	loatest.Eventually(t, "the last article to be known", func() bool { return b.get(b.whole, "/v1/articles/phuong/da-go").status == http.StatusGone })

	t.Run("lists", func(t *testing.T) {
		for query, want := range map[string]string{
			"":                             "tin-3 tin-2 tin-1 van-hoa mat",
			"site=quan":                    "van-hoa",
			"subtree=quan":                 "tin-3 tin-2 tin-1 van-hoa",
			"category=van-hoa":             "van-hoa",
			"tag=l%E1%BB%85%20h%E1%BB%99i": "van-hoa",
			"urgency=3":                    "van-hoa",
			"language=en":                  "",
			"status=withdrawn":             "da-go",
			"status=all&limit=2":           "tin-3 tin-2",
			"since=2026-11-20T09:00:00%2B07:00&until=2026-11-20T10:30:00%2B07:00": "tin-2",
		} {
			var got listed
			b.get(b.whole, "/v1/articles?"+query).into(t, 200, &got)
			if got.ids() != want {
				t.Errorf("%s: %s, expected %s", query, got.ids(), want)
			}
		}
		var got listed
		a := b.get(b.whole, "/v1/articles?limit=2&subtree=quan&fields=id,title")
		a.into(t, 200, &got)
		if s := compact(t, got.Articles[0]); s != `{"id":"tin-3","title":"Lịch cắt nước, sửa"}`+"\n" {
			t.Errorf("with fields: %s", s)
		}
		link, _, _ := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"+b.url), ">")
		var second listed
		b.get(b.whole, link).into(t, 200, &second)
		if second.ids() != "tin-1 van-hoa" || second.Next != "" {
			t.Errorf("the second page: %s, next %q", second.ids(), second.Next)
		}
	})
	t.Run("shows what the caller may see", func(t *testing.T) {
		for _, c := range []struct {
			who, key string
			ids      string
			full     bool
		}{{"stranger", "", "tin-3 tin-2 tin-1 van-hoa mat", false}, {"whole", b.whole, "tin-3 tin-2 tin-1 van-hoa mat", true},
			{"district", b.district, "tin-3 tin-2 tin-1 van-hoa", true}, {"brief", b.brief, "tin-3 tin-2 tin-1 van-hoa", false}} {
			var got listed
			b.get(c.key, "/v1/articles?fields=all").into(t, 200, &got)
			_, body := got.Articles[0]["body"]
			images := len(got.Articles[0]["images"].([]any))
			if got.ids() != c.ids || body != c.full || (images == 2) != c.full {
				t.Errorf("%s: %s, body %t, %d images", c.who, got.ids(), body, images)
			}
			if a := b.get(c.key, "/v1/articles/phuong/tin-1", "Accept", "text/html"); strings.Contains(string(a.body), "11 giờ") != c.full {
				t.Errorf("%s: %s", c.who, a.body)
			}
			if a := b.get(c.key, "/v1/articles/phuong/tin-1?format=ninjs"); strings.Contains(string(a.body), "11 giờ") != c.full {
				t.Errorf("%s: %s", c.who, a.body)
			}
		}
		// What a key does not cover is for it what does not exist.
		for _, path := range []string{"/v1/articles/thanh-pho/", "/v1/articles/thanh-pho/mat", "/v1/articles/thanh-pho/khong-co", "/v1/articles/khong-co/x", "/v1/articles/phuong/khong-co"} {
			if a := b.get(b.district, path); a.status != 404 || path != "/v1/articles/thanh-pho/" && string(a.body) != string(b.get(b.district, "/v1/articles/phuong/nao-do").body) {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
		for _, query := range []string{"site=thanh-pho", "subtree=khong-co"} {
			b.get(b.district, "/v1/articles?"+query).refused(t, 422, "query."+query[:strings.Index(query, "=")])
		}
		var got struct {
			Sites []struct{ ID string }
			Feeds []struct{ ID, RSS string }
		}
		b.get(b.district, "/v1/sites").into(t, 200, &got)
		b.get(b.district, "/v1/feeds").into(t, 200, &got)
		if len(got.Sites) != 2 || len(got.Feeds) != 1 || got.Feeds[0].RSS != b.url+"/feeds/site-quan/feed.rss" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("gives articles in several formats", func(t *testing.T) {
		a := b.get(b.whole, "/v1/articles/phuong/tin-1")
		var one article.Public
		a.into(t, 200, &one)
		if one.GUID != article.NewGUID("phuong", "tin-1") || one.SiteName != "Phường Cầu Gỗ" || !strings.Contains(one.Body, "https://cdn.example/media/abc/w640.jpg") ||
			a.header.Get("Vary") == "" || !strings.Contains(a.header.Get("Link"), `<https://phuong.example/tin-1>; rel="canonical"`) {
			t.Errorf("%+v %v", one, a.header)
		}
		a = b.get(b.whole, "/v1/articles/phuong/tin-1", "Accept", "application/vnd.iptc.ninjs+json")
		var item struct{ URI, PubStatus string }
		a.into(t, 200, &item)
		if item.URI != one.GUID || item.PubStatus != "usable" || a.header.Get("Content-Type") != "application/vnd.iptc.ninjs+json" {
			t.Errorf("%+v %v", item, a.header)
		}
		a = b.get(b.whole, "/v1/articles/phuong/tin-1", "Accept", "text/html,application/json;q=0.5")
		if text := string(a.body); !strings.HasPrefix(text, `<article class="loa-article" lang="vi"`) || !strings.Contains(text, "<b>11 giờ</b>") ||
			!strings.Contains(text, "20/11/2026 08:30") || !strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s %v", a.body, a.header)
		}
		a = b.get(b.whole, "/v1/articles/phuong/da-go")
		a.into(t, http.StatusGone, &one)
		if one.Status != "withdrawn" || one.Withdrawal == nil || one.Withdrawal.Reason != "Sai số liệu" {
			t.Errorf("%+v", one)
		}
		if a := b.get(b.whole, "/v1/articles/phuong/da-go?format=html"); a.status != http.StatusGone || !strings.Contains(string(a.body), "đã được gỡ") {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("gives former versions", func(t *testing.T) {
		var got struct {
			Versions []struct {
				Version int
				Current bool
				Title   string
				URL     string
			}
		}
		b.get(b.whole, "/v1/articles/phuong/tin-3/versions").into(t, 200, &got)
		if len(got.Versions) != 2 || !got.Versions[0].Current || got.Versions[1].Title != "Bản cũ" {
			t.Fatalf("%+v", got)
		}
		var one article.Public
		b.get(b.whole, strings.TrimPrefix(got.Versions[1].URL, b.url)).into(t, 200, &one)
		if one.Title != "Bản cũ" || one.Number != 1 {
			t.Errorf("%+v", one)
		}
		b.get(b.whole, "/v1/articles/phuong/tin-3?version=7").refused(t, 404, "")
		if a := b.get(b.whole, "/v1/articles/phuong/da-go?version=1"); a.status != http.StatusGone || strings.Contains(string(a.body), "Bản cũ") {
			t.Errorf("of a withdrawn article: %d %s", a.status, a.body)
		}
	})
	t.Run("names what is wrong", func(t *testing.T) {
		var page listed
		b.get(b.whole, "/v1/articles?limit=1").into(t, 200, &page)
		broken := page.Next[:len(page.Next)-3] + "AAA"
		for query, location := range map[string]string{
			"limit=0": "query.limit", "limit=x": "query.limit", "urgency=9": "query.urgency", "since=hôm-qua": "query.since", "status=gone": "query.status",
			"fields=title,boddy": "query.fields", "tags=x": "query.tags", "until=2020-01-01T00:00:00Z&since=2021-01-01T00:00:00Z": "query.until",
			"cursor=x": "query.cursor", "cursor=" + broken: "query.cursor", "cursor=" + page.Next + "&site=quan": "query.cursor",
			"tag=a&tag=b": "query.tag", "site=%zz": "query", "site=phuong;limit=1": "query",
		} {
			b.get(b.whole, "/v1/articles?"+query).refused(t, 422, location)
		}
		var of changed
		b.get(b.whole, "/v1/changes").into(t, 200, &of)
		born := of.Next[:strings.Index(of.Next, "-")]
		for cursor, status := range map[string]int{"x": 422, born + "-": 422, born + "--1": 422, born + "-01": 422, "-1": 422, "zz-1": 410, born + "-999999": 410} {
			b.get(b.whole, "/v1/changes?cursor="+url.QueryEscape(cursor)).refused(t, status, "query.cursor")
		}
		b.get(b.whole, "/v1/changes/stream", "Last-Event-ID", "x").refused(t, 422, "header.Last-Event-ID")
		b.get(b.whole, "/v1/changes?wait=31").refused(t, 422, "query.wait")
		b.get(b.whole, "/v1/khong-co").refused(t, 404, "")
		b.get(b.whole, "/v1//articles").refused(t, 404, "")
		b.do(http.MethodPost, b.whole, "/v1/articles").refused(t, 405, "")
	})
	t.Run("tells every change in order", func(t *testing.T) {
		var of changed
		b.get(b.district, "/v1/changes?limit=3").into(t, 200, &of)
		seen := of.Changes
		if len(seen) != 3 || !of.More {
			t.Fatalf("%+v", of)
		}
		rest := changed{}
		b.get(b.district, "/v1/changes?cursor="+of.Next).into(t, 200, &rest)
		seen, of = append(seen, rest.Changes...), rest
		var ids []string
		for _, c := range seen {
			ids = append(ids, c.Article["id"].(string)+" "+c.Type)
		}
		if got := strings.Join(ids, ", "); of.More || got != "tin-1 article.published, tin-2 article.published, van-hoa article.published, tin-3 article.published, da-go article.withdrawn" {
			t.Errorf("%s, more %t", got, of.More)
		}
		// Who comes back hears what happened since, of a change the newest version alone.
		next := of.Next
		done := make(chan answer)
		go func() { done <- b.get(b.district, "/v1/changes?wait=30&cursor="+next) }()
		b.put(an("thanh-pho", "khac", nil)) // not for this key
		b.put(an("phuong", "tin-4", nil))
		(<-done).into(t, 200, &of)
		if len(of.Changes) != 1 || of.Changes[0].Article["id"] != "tin-4" || of.Changes[0].Article["body"] != nil {
			t.Errorf("%+v", of)
		}
		b.get(b.district, "/v1/changes?wait=1&cursor="+of.Next).into(t, 200, &of)
		if len(of.Changes) != 0 || of.Next == "" {
			t.Errorf("%+v", of)
		}
		b.get(b.district, "/v1/changes?cursor=now&site=quan").into(t, 200, &of)
		if len(of.Changes) != 0 {
			t.Errorf("%+v", of)
		}
	})
	t.Run("streams changes", func(t *testing.T) {
		next, closed := b.events(b.district, "/v1/changes?cursor=now", "Accept", "text/event-stream")
		begin := next()
		b.put(an("phuong", "tin-5", nil))
		first := next()
		var c change
		if err := json.Unmarshal([]byte(first.data), &c); err != nil || first.name != "article.published" || c.Article["id"] != "tin-5" || c.Cursor != first.id || begin.name != "" {
			t.Errorf("%+v, %v", first, err)
		}
		closed()
		b.put(an("phuong", "tin-5", withdraw)) // while nobody listened
		next, closed = b.events(b.district, "/v1/changes/stream", "Last-Event-ID", first.id)
		defer closed()
		next()
		if second := next(); second.name != "article.withdrawn" || second.id == first.id {
			t.Errorf("%+v", second)
		}
	})
	t.Run("is cached, compressed and read from other origins", func(t *testing.T) {
		a := b.get("", "/v1/articles?status=all&fields=all", "Accept-Encoding", "gzip")
		if a.header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(a.header.Get("Cache-Control"), "public, max-age=") || a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%v", a.header)
		}
		plain := b.get("", "/v1/articles?status=all&fields=all", "Accept-Encoding", "identity")
		tag := a.header.Get("Etag")
		if tag == "" || plain.header.Get("Etag") == tag || plain.header.Get("Content-Encoding") != "" {
			t.Errorf("entity tags %q and %q", tag, plain.header.Get("Etag"))
		}
		if again := b.get("", "/v1/articles?status=all&fields=all", "Accept-Encoding", "gzip", "If-None-Match", tag); again.status != http.StatusNotModified || again.header.Get("Etag") != tag || len(again.body) != 0 {
			t.Errorf("%d %v", again.status, again.header)
		}
		if a := b.get(b.whole, "/v1/articles"); !strings.HasPrefix(a.header.Get("Cache-Control"), "private") || !strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Authorization") {
			t.Errorf("%v", a.header)
		}
		if a := b.do(http.MethodHead, b.whole, "/v1/articles"); a.status != 200 || len(a.body) != 0 {
			t.Errorf("HEAD: %d %s", a.status, a.body)
		}
		if a := b.do(http.MethodOptions, "", "/v1/articles"); a.status != 204 || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("OPTIONS: %d %v", a.status, a.header)
		}
	})
	_ = last
}

func TestKeysAndRates(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *api.Options) {
		o.Public, o.PublicRate = api.PublicNone, 0.2
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	from := func(address string) []string { return []string{"X-Forwarded-For", "6.6.6.6, " + address} }

	b.get("", "/v1/articles", from("203.0.113.1")...).refused(t, 401, "")
	revoked := b.key(keys.Key{Name: "Cũ", Content: keys.ContentFull})
	next, closed := b.events(revoked, "/v1/changes/stream?cursor=now")
	defer closed()
	next()
	if _, err := b.keys.Revoke(t.Context(), strings.Split(revoked, "_")[1], "test"); err != nil {
		t.Fatal(err)
	}
	if e := next(); e.id != "" { // its stream ends
		t.Errorf("%+v", e)
	}
	never := b.get("loa_aaaaaaaaaaaa_"+strings.Repeat("a", 52), "/v1/articles", from("203.0.113.2")...)
	gone := b.get(revoked, "/v1/articles", from("203.0.113.3")...)
	never.refused(t, 401, "")
	if string(gone.body) != string(never.body) || gone.header.Get("WWW-Authenticate") != never.header.Get("WWW-Authenticate") {
		t.Errorf("a revoked key is told from one that never was: %s", gone.body)
	}

	// Whoever guesses is counted by his address, whatever he says of it.
	for range 2 {
		b.get("loa_x", "/v1/articles", from("203.0.113.4")...)
	}
	limited := b.get(b.whole+"x", "/v1/articles", from("203.0.113.4")...)
	limited.refused(t, 429, "")
	if limited.header.Get("Retry-After") == "" || limited.header.Get("RateLimit-Policy") != `"requests";q=2;w=10` || !strings.HasPrefix(limited.header.Get("RateLimit"), `"requests";r=0;t=`) {
		t.Errorf("%v", limited.header)
	}
	if a := b.get(b.whole, "/v1/articles", from("203.0.113.4")...); a.status != 200 {
		t.Errorf("a key is limited by what others do at its address: %d", a.status)
	}
	slow := b.key(keys.Key{Name: "Chậm", Rate: 0.1})
	b.get(slow, "/v1/sites").into(t, 200, &struct{}{})
	b.get(slow, "/v1/sites").refused(t, 429, "")
}

func TestNotReadyIsSaid(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	if err := b.js.DeleteStream(t.Context(), streams.Articles); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "the API to find that the log is gone", func() bool {
		a := b.get(b.whole, "/v1/articles")
		return a.status == 503 && a.header.Get("Retry-After") != "" || a.status == 200
	})
}
