package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/streams"
)

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	var away error = errors.New("connection refused")
	b := start(t, func(o *gateway.Options) {
		o.Ready = func(context.Context) []gateway.Check { return []gateway.Check{{"nats", nil}, {"s3", away}} }
	})
	if a := b.get("/healthz"); a.StatusCode != http.StatusOK || a.body != "ok\n" {
		t.Errorf("healthz: %s", a.Status)
	}
	a := b.get("/readyz")
	const want = `{"ready":false,"checks":[{"name":"nats","ready":true},{"name":"s3","ready":false,"error":"connection refused"}]}`
	if a.StatusCode != http.StatusServiceUnavailable || a.body != want {
		t.Errorf("readyz: %s %s", a.Status, a.body)
	}
}

func TestReadinessIsAskedOnceASecond(t *testing.T) {
	t.Parallel()
	var asked int // guarded by the gateway, which runs one check at a time
	b := start(t, func(o *gateway.Options) {
		o.Ready = func(context.Context) []gateway.Check { asked++; return nil }
	})
	for range 20 {
		if a := b.get("/readyz"); a.StatusCode != http.StatusOK {
			t.Error(a.Status)
		}
	}
	if asked > 2 {
		t.Errorf("asked %d times", asked)
	}
}

func TestSmallFiles(t *testing.T) {
	t.Parallel()
	b := start(t)
	if a := b.get("/robots.txt"); !strings.Contains(a.body, "Disallow: /metrics") {
		t.Errorf("robots.txt: %s", a.body)
	}
	if a := b.get("/favicon.ico"); a.StatusCode != http.StatusNoContent {
		t.Errorf("favicon.ico: %s", a.Status)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	b.get("/" + feedKey)
	b.get("/" + feedKey)
	b.get("/khong-co/" + strings.Repeat("x", 100))
	a := b.get("/metrics")
	for _, want := range []string{
		`loa_http_requests_total{code="200",route="feed"} 2`,
		`loa_http_requests_total{code="404",route="unknown"} 1`,
		`loa_http_seconds_count{route="feed"} 2`,
		`loa_http_feed_cache_total{outcome="hit"} 1`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if strings.Contains(a.body, "khong-co") {
		t.Error("a stranger can make metrics of his own")
	}
}

// panicking is a log whose program has a fault.
type panicking struct{}

func (panicking) Get(context.Context, streams.Key, uint64) (streams.Entry, error) {
	panic("nội bộ")
}

func TestAPanicIsOneAnswer(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *gateway.Options) { o.Articles = panicking{} })
	a := b.get("/articles/phuong-cau-go/1")
	if a.StatusCode != http.StatusInternalServerError || strings.Contains(a.body, "nội bộ") {
		t.Errorf("%s: %s", a.Status, a.body)
	}
	if a := b.get("/healthz"); a.StatusCode != http.StatusOK {
		t.Error(a.Status)
	}
}

// slow is a log that answers when it is let go.
type slow struct{ asked, answer chan struct{} }

func (s slow) Get(context.Context, streams.Key, uint64) (streams.Entry, error) {
	close(s.asked)
	<-s.answer
	return streams.Entry{}, streams.ErrNotFound
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	s := slow{make(chan struct{}), make(chan struct{})}
	b := start(t, func(o *gateway.Options) { o.Articles = s })
	status := make(chan string, 1)
	go func() {
		resp, err := http.Get(b.base + "/articles/phuong-cau-go/1")
		if err != nil {
			status <- err.Error()
			return
		}
		resp.Body.Close()
		status <- resp.Status
	}()
	<-s.asked
	ended := make(chan error, 1)
	go func() { ended <- b.stop() }()
	loatest.Eventually(t, "no new connection is taken", func() bool {
		conn, err := net.Dial("tcp", b.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(s.answer)
	if got := <-status; got != "404 Not Found" {
		t.Errorf("the request under way: %s", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestShutdownEndsWithTheGracePeriod(t *testing.T) {
	t.Parallel()
	s := slow{make(chan struct{}), make(chan struct{})}
	defer close(s.answer)
	b := start(t, func(o *gateway.Options) { o.Articles = s; o.Grace = 50 * time.Millisecond })
	go http.Get(b.base + "/articles/phuong-cau-go/1")
	<-s.asked
	if err := b.stop(); err == nil || !strings.Contains(err.Error(), "still under way after 50ms") {
		t.Errorf("end: %v", err)
	}
}

// dial opens a connection to speak HTTP by hand.
func (b *bench) dial() net.Conn {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// raw sends a request line and headers, and gives the answer.
func (b *bench) raw(head string) *http.Response {
	b.t.Helper()
	conn := b.dial()
	if _, err := io.WriteString(conn, head+"\r\n\r\n"); err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		b.t.Fatalf("%.60q: %v", head, err)
	}
	resp.Body.Close()
	return resp
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	t.Parallel()
	b := start(t)
	if s := b.gateway.Server(); s.ReadTimeout == 0 || s.ReadTimeout > 5*time.Second || s.WriteTimeout == 0 || s.IdleTimeout == 0 {
		t.Errorf("limits: %+v", s)
	}
	conn := b.dial()
	began := time.Now()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-A: ")
	go func() { // a byte now and then, for as long as they are taken
		for {
			if _, err := io.WriteString(conn, "a"); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	io.Copy(io.Discard, conn) // until the server ends it
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("held for %s", took)
	}
}

func TestLargeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	b := start(t)
	conn := b.dial()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-A: ")
	chunk := strings.Repeat("a", 64<<10)
	sent := 0
	for range 16 { // 1 MiB; the server closes before that
		n, err := io.WriteString(conn, chunk)
		sent += n
		if err != nil {
			break
		}
	}
	answer, _ := io.ReadAll(conn)
	if len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("%q", answer)
	}
	if many := b.raw("GET / HTTP/1.1\r\nHost: x" + strings.Repeat("\r\nX-A: b", gateway.MaxHeader/4)); many.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("many headers: %s", many.Status)
	}
	if long := b.raw("GET /" + strings.Repeat("a", 2*gateway.MaxHeader) + " HTTP/1.1\r\nHost: x"); long.StatusCode < 400 {
		t.Errorf("a long path: %s", long.Status)
	}
	if a := b.get("/healthz"); a.StatusCode != http.StatusOK {
		t.Error(a.Status)
	}
}

func TestHostAndForwardedHeadersAreNotBelieved(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *gateway.Options) { o.Feeds = someFeeds })
	b.putFeed("một")
	poison := []string{"Host", "evil.example", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "gopher",
		"Forwarded", "host=evil.example", "X-Original-URL", "/metrics", "X-Rewrite-URL", "/metrics"}
	for _, path := range []string{"/", "/" + feedKey, "/khong-co", "//evil.example/", "/feeds/../" + feedKey} {
		for _, accept := range []string{"text/html", "*/*"} {
			a := b.get(path, append(poison, "Accept", accept)...)
			if all := fmt.Sprint(a.Header, a.body); strings.Contains(all, "evil") || strings.Contains(all, "gopher") {
				t.Errorf("%s: %s", path, all)
			}
		}
	}
}

func TestPathsThatLeaveTheirFolderAreUnknown(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	b.put("articles/phuong-cau-go/1.json", "{}", objects.Meta{})
	for _, path := range []string{
		"/feeds/../articles/phuong-cau-go/1.json", "/feeds/phuong-cau-go/../phuong-cau-go/feed.rss",
		"/feeds/%2e%2e/articles/1.json", "/feeds/..%2farticles%2fphuong-cau-go%2f1.json/feed.rss", "/feeds/%2e%2e%2f/feed.rss",
		"/feeds//phuong-cau-go/feed.rss", "//feeds/phuong-cau-go/feed.rss", "/feeds/phuong-cau-go//feed.rss",
		"/feeds/./phuong-cau-go/feed.rss", "/feeds/phuong-cau-go/feed.rss//", "/feeds/phuong-cau-go/feed.rss%00", "/feeds/phuong-cau-go/feed.rss%0d%0aX:y",
		"/feeds/%70huong-cau-go/feed.rss", "/feeds/phuong-cau-go%2ffeed.rss", "/feeds/phuong-cau-go/feed%2erss", "/FEEDS/phuong-cau-go/feed.rss",
		"/feeds/phuong-cau-go/feed.html", "/feeds/phuong-cau-go/archive/2026-11.rss", "/feeds/phuong-cau-go/archive/", "/feeds/", "/feeds",
		"/feeds/-x/feed.rss", "/feeds/Phường/feed.rss", "/feeds/" + strings.Repeat("a", 300) + "/feed.rss", `/feeds/..\..\x/feed.rss`, "/..", "/../../etc/passwd",
	} {
		resp := b.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close")
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", path, resp.Status)
		}
		if resp.Header.Get("Location") != "" || resp.Header.Get("X") != "" {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
	if n := b.counted.gets.Load() + b.counted.stats.Load(); n != 0 {
		t.Errorf("the object store was asked %d times", n)
	}
	// An absolute address, as a proxy gets it, is the same one.
	if resp := b.raw("GET http://evil.example/" + feedKey + " HTTP/1.1\r\nHost: x\r\nConnection: close"); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

func TestMountsAnswerBelowTheirPrefix(t *testing.T) {
	t.Parallel()
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text+" "+r.Method) })
	}
	b := start(t, func(o *gateway.Options) {
		o.Mounts = []gateway.Mount{
			{Prefix: "/v1/", Route: "api", Handler: says("api")},
			{Prefix: "/v1/events", Route: "inbox", Handler: says("inbox")},
			{Prefix: "/hub", Route: "hub", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken") })},
		}
	})
	for _, c := range []struct {
		method, path string
		status       int
		body         string // its beginning
	}{
		{"GET", "/v1/articles", 200, "api GET"},
		{"POST", "/v1/events", 200, "inbox POST"},
		{"POST", "/v1/events/more", 200, "api POST"},
		{"DELETE", "/hub", 500, "{"},
		{"GET", "/hub/", 404, "{"},
		{"POST", "/v1", 405, "{"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, b.base+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != c.status || !strings.HasPrefix(string(body), c.body) {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, res.StatusCode, body, c.status, c.body)
		}
	}
}

func TestWhoCannotBeServedIsToldToComeLater(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	leave := b.gateway.Crowd()
	a := b.get("/" + feedKey)
	a.want(t, "Retry-After", "5")
	a.want(t, "Cache-Control", "no-store")
	if a.StatusCode != http.StatusServiceUnavailable || b.counted.gets.Load() != 0 {
		t.Errorf("%s, and %d loads", a.Status, b.counted.gets.Load())
	}
	if a := b.get("/healthz"); a.StatusCode != http.StatusOK {
		t.Errorf("healthz: %s", a.Status)
	}
	leave()
	if a := b.get("/" + feedKey); a.StatusCode != http.StatusOK {
		t.Error(a.Status)
	}
}
