package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
)

func TestFeedIsServedAsItWasStored(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	a := b.get("/" + feedKey)
	if a.StatusCode != http.StatusOK || a.body != feed("một") {
		t.Fatalf("%s: %s", a.Status, a.body)
	}
	a.want(t, "Content-Type", "application/rss+xml; charset=utf-8")
	a.want(t, "Cache-Control", "public, max-age=60")
	a.want(t, "Vary", "Accept, Accept-Encoding, A-IM")
	a.want(t, "Link", `<https://loa.anhoa.example/feeds/phuong-cau-go/feed.rss>; rel="self", <https://hub.example/>; rel="hub"`)
	a.want(t, "X-Content-Type-Options", "nosniff")
	a.want(t, "Content-Security-Policy", "default-src 'none'; sandbox")
	a.want(t, "Access-Control-Allow-Origin", "")

	b.put("feeds/phuong-cau-go/feed.json", "{}", objects.Meta{})
	a = b.get("/feeds/phuong-cau-go/feed.json")
	a.want(t, "Access-Control-Allow-Origin", "*")
	a.want(t, "Access-Control-Expose-Headers", "ETag, Link, Retry-After")
	a.want(t, "Set-Cookie", "")
	a.want(t, "Content-Type", "application/feed+json; charset=utf-8")
}

func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	for _, encoding := range []string{"identity", "gzip"} {
		get, head := b.get("/"+feedKey, "Accept-Encoding", encoding), b.do(http.MethodHead, "/"+feedKey, "Accept-Encoding", encoding)
		if head.body != "" || head.ContentLength != int64(len(get.body)) || head.StatusCode != get.StatusCode {
			t.Errorf("%s: %s with %d of %d bytes", encoding, head.Status, head.ContentLength, len(get.body))
		}
		for name := range get.Header {
			if name != "Date" {
				head.want(t, name, get.Header.Get(name))
			}
		}
	}
}

func TestEachEncodingHasItsETag(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	plain := b.get("/" + feedKey)
	tags := map[string]string{plain.Header.Get("Etag"): "none"}
	for _, coding := range []string{"gzip", "zstd", "br"} {
		var coded answer
		loatest.Eventually(t, "the feed comes in "+coding, func() bool { // Brotli comes a moment later
			coded = b.get("/"+feedKey, "Accept-Encoding", coding)
			return coded.Header.Get("Content-Encoding") == coding
		})
		coded.want(t, "Vary", "Accept, Accept-Encoding, A-IM")
		if coded.plain(t) != plain.body || len(coded.body) >= len(plain.body) {
			t.Errorf("%s: %d of %d bytes, or another text", coding, len(coded.body), len(plain.body))
		}
		tag := coded.Header.Get("Etag")
		if of := tags[tag]; of != "" || !strings.HasPrefix(tag, `"`) {
			t.Errorf("%s has the ETag %s, as %s: expected strong ones that differ", coding, tag, of)
		}
		tags[tag] = coding
		// The tag of the other encoding is not that of what would be sent.
		if a := b.get("/"+feedKey, "If-None-Match", tag); a.StatusCode != http.StatusOK {
			t.Errorf("plain, with the tag of %s: %s", coding, a.Status)
		}
		a := b.get("/"+feedKey, "If-None-Match", tag, "Accept-Encoding", coding)
		if a.StatusCode != http.StatusNotModified || a.Header.Get("Etag") != tag {
			t.Errorf("%s, with its tag: %s, ETag %s", coding, a.Status, a.Header.Get("Etag"))
		}
	}
	for accept, want := range map[string]string{
		"gzip, deflate, br, zstd": "br", "zstd, gzip": "zstd", "br;q=0.5, gzip": "gzip", "gzip;q=0.5, zstd;q=0.5, br;q=0": "zstd", "*": "br",
		"identity, br;q=0.9": "", "deflate": "", "br;q=0": "",
	} {
		b.get("/"+feedKey, "Accept-Encoding", accept).want(t, "Content-Encoding", want)
	}
}

func TestCompressionIsDoneOnceAVersion(t *testing.T) {
	t.Parallel()
	b, other := start(t), start(t)
	b.putFeed("một")
	other.putFeed("một")
	tag := func(of *bench) (tag string) {
		loatest.Eventually(t, "the feed comes in Brotli", func() bool {
			a := of.get("/"+feedKey, "Accept-Encoding", "br")
			tag = a.Header.Get("Etag")
			return a.Header.Get("Content-Encoding") == "br"
		})
		return tag
	}
	first := tag(b)
	if again, elsewhere := tag(b), tag(other); again != first || elsewhere != first {
		t.Errorf("tags %s, %s and, of another process, %s", first, again, elsewhere)
	}
	if n := b.counted.gets.Load(); n != 1 {
		t.Errorf("the feed was loaded %d times", n)
	}
}

func TestSmallFeedsAreNotCompressed(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.put(feedKey, "<rss/>", objects.Meta{ContentType: "application/rss+xml"})
	if a := b.get("/"+feedKey, "Accept-Encoding", "gzip"); a.body != "<rss/>" || a.Header.Get("Content-Encoding") != "" {
		t.Errorf("%q in %q", a.body, a.Header.Get("Content-Encoding"))
	}
}

func TestConditionalRequests(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	var first answer
	loatest.Eventually(t, "the feed has a date", func() bool {
		first = b.get("/" + feedKey)
		return first.Header.Get("Last-Modified") != ""
	})
	tag := first.Header.Get("Etag")
	modified, err := http.ParseTime(first.Header.Get("Last-Modified"))
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration) string { return modified.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		headers []string
		want    int
	}{
		{nil, 200},
		{[]string{"If-None-Match", tag}, 304},
		{[]string{"If-None-Match", "W/" + tag}, 304},
		{[]string{"If-None-Match", `"a", ` + tag + `, "b"`}, 304},
		{[]string{"If-None-Match", `"a"`, "If-None-Match", tag}, 304},
		{[]string{"If-None-Match", "*"}, 304},
		{[]string{"If-None-Match", `"other"`}, 200},
		{[]string{"If-None-Match", strings.Trim(tag, `"`)}, 200}, // not a tag
		{[]string{"If-Modified-Since", at(0)}, 304},
		{[]string{"If-Modified-Since", at(time.Hour)}, 304},
		{[]string{"If-Modified-Since", at(-time.Second)}, 200},
		{[]string{"If-Modified-Since", "yesterday"}, 200},
		// If-None-Match alone counts.
		{[]string{"If-None-Match", `"other"`, "If-Modified-Since", at(time.Hour)}, 200},
		{[]string{"If-None-Match", tag, "If-Modified-Since", at(-time.Hour)}, 304},
		{[]string{"If-Match", tag}, 200},
		{[]string{"If-Match", "*"}, 200},
		{[]string{"If-Match", "W/" + tag}, 412},
		{[]string{"If-Match", `"other"`}, 412},
		{[]string{"If-Match", tag, "If-None-Match", tag}, 304},
		{[]string{"If-Unmodified-Since", at(0)}, 200},
		{[]string{"If-Unmodified-Since", at(-time.Second)}, 412},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := b.do(method, "/"+feedKey, c.headers...)
			if a.StatusCode != c.want {
				t.Errorf("%s %q: %s, expected %d", method, c.headers, a.Status, c.want)
			}
			a.want(t, "Etag", tag)
			a.want(t, "Last-Modified", first.Header.Get("Last-Modified"))
			a.want(t, "Cache-Control", "public, max-age=60")
			a.want(t, "Vary", "Accept, Accept-Encoding, A-IM")
			if c.want != 200 && (a.body != "" || a.Header.Get("Content-Type") != "") {
				t.Errorf("%s %q: %d with a body %q", method, c.headers, c.want, a.body)
			}
		}
	}
}

func TestAChangeIsSeenWithinASecond(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	old := b.get("/" + feedKey)
	b.putFeed("hai")
	changed := time.Now()
	var now answer
	loatest.Eventually(t, "the feed changes", func() bool {
		now = b.get("/"+feedKey, "If-None-Match", old.Header.Get("Etag"))
		return now.StatusCode == http.StatusOK
	})
	if now.body != feed("hai") {
		t.Error("neither the old nor the new feed")
	}
	if took := time.Since(changed); took > gateway.FreshFor+1500*time.Millisecond {
		t.Errorf("seen after %s", took)
	}
}

func TestAChangeThatIsToldIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	b.get("/" + feedKey)
	for _, text := range []string{"hai", "ba", "bốn"} {
		b.putFeed(text)
		b.gateway.Changed("phuong-cau-go")
		if a := b.get("/" + feedKey); a.body != feed(text) {
			t.Fatalf("not what was stored as %q before it was told", text)
		}
	}
	// What readers want is renewed before they come.
	loads := b.counted.gets.Load()
	b.putFeed("năm")
	b.gateway.Changed("phuong-cau-go")
	loatest.Eventually(t, "the feed is loaded, unasked", func() bool { return b.counted.gets.Load() > loads })
	b.gateway.Changed("khong-co") // of which nothing is known
	if n := b.counted.gets.Load(); n != loads+1 {
		t.Errorf("%d loads for one change", n-loads)
	}
	// A feed that there was not is there once that is told.
	if a := b.get("/feeds/moi/feed.atom"); a.StatusCode != http.StatusNotFound {
		t.Fatal(a.Status)
	}
	b.put("feeds/moi/feed.atom", "<feed/>", objects.Meta{})
	b.gateway.Changed("moi")
	if a := b.get("/feeds/moi/feed.atom"); a.StatusCode != http.StatusOK {
		t.Error(a.Status)
	}
}

// late is a store whose answers come when they are let through, from when on it is set.
type late struct {
	*objects.Store
	held atomic.Pointer[chan struct{}]
	asks chan struct{}
}

func (l *late) Get(ctx context.Context, key string, most int64) (objects.Object, error) {
	o, err := l.Store.Get(ctx, key, most)
	if held := l.held.Load(); held != nil {
		l.asks <- struct{}{}
		<-*held
	}
	return o, err
}

func TestAnAnswerFromBeforeTheChangeIsNotKept(t *testing.T) {
	t.Parallel()
	store := &late{asks: make(chan struct{}, 10)}
	b := start(t, func(o *gateway.Options) { store.Store = o.Objects.(*counted).Store; o.Objects = store })
	b.putFeed("một")
	b.get("/" + feedKey)
	held := make(chan struct{})
	store.held.Store(&held)
	b.gateway.Changed("phuong-cau-go")
	<-store.asks // it gives what is there still
	store.held.Store(nil)
	b.putFeed("hai")
	b.gateway.Changed("phuong-cau-go")
	if a := b.get("/" + feedKey); a.body != feed("hai") {
		t.Error("the reader got the answer to a question of before")
	}
	close(held)
	for range 20 {
		if a := b.get("/" + feedKey); a.body != feed("hai") {
			t.Fatal("the late answer replaced the newer one")
		}
	}
}

func TestLastModifiedMovesWithTheContentAlone(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	var first answer
	loatest.Eventually(t, "the feed has a date", func() bool {
		first = b.get("/" + feedKey)
		return first.Header.Get("Last-Modified") != ""
	})
	b.put(feedKey, feed("một"), objects.Meta{ContentType: "application/rss+xml; charset=utf-8", CacheControl: "public, max-age=61"})
	asked := b.counted.stats.Load()
	loatest.Eventually(t, "the store is asked again", func() bool {
		b.get("/" + feedKey)
		return b.counted.stats.Load() > asked
	})
	a := b.get("/" + feedKey)
	a.want(t, "Last-Modified", first.Header.Get("Last-Modified"))
	a.want(t, "Etag", first.Header.Get("Etag"))
}

func TestAFreshFeedHasNoDateYet(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	if a := b.get("/" + feedKey); a.Header.Get("Last-Modified") != "" {
		t.Error("a second version in the same second would have the same date")
	}
}

func TestManyReadersCostOneQuestion(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	var readers sync.WaitGroup
	for range 100 {
		readers.Go(func() {
			if a := b.get("/" + feedKey); a.StatusCode != http.StatusOK {
				t.Error(a.Status)
			}
		})
	}
	readers.Wait()
	if n := b.counted.gets.Load(); n != 1 {
		t.Errorf("the feed was loaded %d times", n)
	}
	if n := b.counted.stats.Load(); n > 5 {
		t.Errorf("the store was asked %d times whether it changed", n)
	}
}

func TestUnknownFeedsAreRememberedForAMoment(t *testing.T) {
	t.Parallel()
	b := start(t)
	for range 10 {
		if a := b.get("/feeds/khong-co/feed.rss"); a.StatusCode != http.StatusNotFound {
			t.Fatal(a.Status)
		}
	}
	if n := b.counted.gets.Load(); n > 3 {
		t.Errorf("the store was asked %d times", n)
	}
	b.put("feeds/khong-co/feed.rss", "<rss/>", objects.Meta{})
	loatest.Eventually(t, "the new feed is there", func() bool { return b.get("/feeds/khong-co/feed.rss").StatusCode == http.StatusOK })
	if err := b.store.Delete(t.Context(), "feeds/khong-co/feed.rss"); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "the removed feed is gone", func() bool { return b.get("/feeds/khong-co/feed.rss").StatusCode == http.StatusNotFound })
}

func TestTheCacheIsBounded(t *testing.T) {
	t.Parallel()
	b := start(t)
	const most = 16 << 10
	b.gateway.LimitCache(most)
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		b.put("feeds/"+id+"/feed.rss", feed(id), objects.Meta{})
		if a := b.get("/feeds/" + id + "/feed.rss"); a.body != feed(id) {
			t.Fatal(a.Status)
		}
		if bytes, _ := b.gateway.Cached(); bytes > most || bytes == 0 {
			t.Fatalf("%d bytes are cached", bytes)
		}
	}
	loads := b.counted.gets.Load()
	b.get("/feeds/g/feed.rss")
	if b.counted.gets.Load() != loads {
		t.Error("the feed asked for last is not in the cache")
	}
	b.put("feeds/h/feed.rss", strings.Repeat("x", most), objects.Meta{})
	if a := b.get("/feeds/h/feed.rss"); len(a.body) != most {
		t.Error("a feed greater than the cache is not served")
	}
}

func TestFeedsAreServedWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	first := b.get("/" + feedKey)
	first.want(t, "Age", "")
	endpoint := b.s3.Endpoint()
	b.s3.Shutdown()

	var a answer
	loatest.Eventually(t, "the gateway finds the store away", func() bool {
		a = b.get("/" + feedKey)
		return a.Header.Get("Age") != ""
	})
	if a.StatusCode != http.StatusOK || a.body != feed("một") {
		t.Errorf("%s: %s", a.Status, a.body)
	}
	if !strings.HasPrefix(a.Header.Get("Cache-Status"), "loa; hit; ttl=-") {
		t.Errorf("Cache-Status %q", a.Header.Get("Cache-Status"))
	}
	began := time.Now()
	for range 20 {
		b.get("/" + feedKey)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("20 requests waited %s for the store", took)
	}
	unknown := b.get("/feeds/quan-ben-song/feed.rss")
	unknown.want(t, "Retry-After", "10")
	if unknown.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a feed that is not in the cache: %s", unknown.Status)
	}

	b.startS3(endpoint)
	b.putFeed("hai")
	loatest.Eventually(t, "the gateway finds the store back", func() bool { return b.get("/"+feedKey).body == feed("hai") })
}

func TestScriptsOfOtherSitesMayReadFeedsInJSON(t *testing.T) {
	t.Parallel()
	b := start(t)
	ask := []string{"Origin", "https://elsewhere.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "if-none-match"}
	a := b.do(http.MethodOptions, "/feeds/phuong-cau-go/feed.json", ask...)
	if a.StatusCode != http.StatusNoContent || !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "If-None-Match") {
		t.Errorf("%s %v", a.Status, a.Header)
	}
	a.want(t, "Access-Control-Allow-Origin", "*")
	a.want(t, "Access-Control-Allow-Methods", "GET, HEAD")
	for _, path := range []string{"/" + feedKey, "/feeds/x/y.json", "/"} {
		if a := b.do(http.MethodOptions, path, ask...); a.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
	if a := b.do(http.MethodOptions, "/feeds/phuong-cau-go/feed.json"); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("no preflight: %s", a.Status)
	}
}

func TestAliasesLeadToTheOneAddress(t *testing.T) {
	t.Parallel()
	b := start(t)
	for path, want := range map[string]string{
		"/feeds/phuong-cau-go":               "phuong-cau-go/feed.rss",
		"/feeds/phuong-cau-go/":              "phuong-cau-go/feed.rss",
		"/feeds/phuong-cau-go.rss":           "phuong-cau-go/feed.rss",
		"/feeds/phuong-cau-go.xml":           "phuong-cau-go/feed.rss",
		"/feeds/phuong-cau-go.atom":          "phuong-cau-go/feed.atom",
		"/feeds/phuong-cau-go.json":          "phuong-cau-go/feed.json",
		"/feeds/phuong-cau-go/rss":           "phuong-cau-go/feed.rss",
		"/feeds/phuong-cau-go/atom/":         "phuong-cau-go/feed.atom",
		"/feeds/phuong-cau-go/feed":          "phuong-cau-go/feed.rss",
		"/feeds/phuong-cau-go/feed/":         "phuong-cau-go/feed.rss",
		"/feeds/phuong-cau-go/feed.xml":      "phuong-cau-go/feed.rss",
		"/feeds/phuong-cau-go/feed.rss/":     "phuong-cau-go/feed.rss",
		"/feeds/phuong-cau-go/atom.xml":      "phuong-cau-go/feed.atom",
		"/feeds/phuong-cau-go/index.json":    "phuong-cau-go/feed.json",
		"/feeds/phuong-cau-go--in--y-te.rss": "phuong-cau-go--in--y-te/feed.rss",
		"/rss":                               "thanh-pho--all/feed.rss",
		"/feed/":                             "thanh-pho--all/feed.rss",
		"/atom.xml":                          "thanh-pho--all/feed.atom",
		"/feed.json":                         "thanh-pho--all/feed.json",
	} {
		a := b.get(path, "Host", "evil.example")
		if a.StatusCode != http.StatusPermanentRedirect {
			t.Errorf("%s: %s", path, a.Status)
		}
		a.want(t, "Location", public+"feeds/"+want)
	}
	a := b.get("/feeds/phuong-cau-go", "Accept", "application/feed+json, application/atom+xml;q=0.9, */*;q=0.1")
	a.want(t, "Location", public+"feeds/phuong-cau-go/feed.json")
	a.want(t, "Vary", "Accept")
	if n := b.counted.gets.Load() + b.counted.stats.Load(); n != 0 {
		t.Errorf("the object store was asked %d times", n)
	}
}

func TestArchivesAreServed(t *testing.T) {
	t.Parallel()
	b := start(t)
	for _, key := range []string{"feeds/phuong-cau-go/archive/2026-10.atom", "feeds/phuong-cau-go/archive/2026-10-2.atom"} {
		b.put(key, feed("cũ"), objects.Meta{ContentType: "application/atom+xml", CacheControl: "public, max-age=60"})
		a := b.get("/" + key)
		if a.StatusCode != http.StatusOK || a.body != feed("cũ") {
			t.Error(a.Status)
		}
		a.want(t, "Cache-Control", "public, max-age=60")
		a.want(t, "Link", "<"+public+key+`>; rel="self"`) // no hub tells of it
	}
}
