package gateway_test

import (
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

const public = "https://loa.anhoa.example/"

// bench is a gateway on loopback over a real object store.
type bench struct {
	t        testing.TB
	dir      string
	s3       *embedded.S3
	store    *objects.Store
	counted  *counted
	gateway  *gateway.Gateway
	registry *prometheus.Registry
	base     string // http://127.0.0.1:port
	addr     string
	stop     func() error // ends Serve and gives its error
}

func tree(t testing.TB) *site.Tree {
	t.Helper()
	tree, err := site.New([]site.Site{
		{ID: "thanh-pho", Name: "Thành phố An Hòa", URL: "https://anhoa.example/"},
		{ID: "quan-ben-song", Name: "Quận Bến Sông", Parent: "thanh-pho", URL: "https://bensong.anhoa.example/"},
		{ID: "phuong-cau-go", Name: "Phường Cầu Gỗ <1>", Parent: "quan-ben-song", URL: "https://caugo.anhoa.example/"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func start(t testing.TB, change ...func(*gateway.Options)) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), registry: prometheus.NewRegistry()}
	b.startS3("")
	login := b.s3.Credentials()
	var err error
	b.store, err = objects.Open(t.Context(), objects.Options{
		Endpoint: b.s3.Endpoint(), AccessKey: login.Name, SecretKey: login.Secret.Reveal(), Bucket: "loa"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.store.Close)
	b.counted = &counted{Store: b.store}
	o := gateway.Options{
		Objects: b.counted, Articles: noArticles{}, Sites: tree(t), PublicURL: public,
		Hubs: []string{"https://hub.example/"}, Gatherer: b.registry, Registerer: b.registry,
	}
	for _, c := range change {
		c(&o)
	}
	if b.gateway, err = gateway.New(o); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = ln.Addr().String()
	b.base = "http://" + b.addr
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.gateway.Serve(ctx, ln) }()
	b.stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		b.stop()
	})
	return b
}

// startS3 starts the object store, or starts it again where it was.
func (b *bench) startS3(listen string) {
	b.t.Helper()
	s3, err := embedded.StartS3(b.t.Context(), embedded.S3Options{Dir: b.dir, Listen: listen})
	if err != nil {
		b.t.Fatal(err)
	}
	b.s3 = s3
	b.t.Cleanup(s3.Shutdown)
}

func (b *bench) put(key, body string, meta objects.Meta) {
	b.t.Helper()
	if _, err := b.store.Put(b.t.Context(), key, []byte(body), meta); err != nil {
		b.t.Fatal(err)
	}
}

const feedKey = "feeds/phuong-cau-go/feed.rss"

// putFeed stores a feed that says text.
func (b *bench) putFeed(text string) {
	b.t.Helper()
	b.put(feedKey, feed(text), objects.Meta{ContentType: "application/rss+xml; charset=utf-8", CacheControl: "public, max-age=60"})
}

// feed is large enough to be compressed.
func feed(text string) string {
	return "<rss><channel>" + strings.Repeat("<item><title>Phường Cầu Gỗ thông báo lịch tiêm chủng</title></item>\n", 40) +
		"<item><title>" + text + "</title></item></channel></rss>"
}

// client neither asks for gzip nor decodes it by itself, and follows no redirects.
var client = &http.Client{
	Transport:     &http.Transport{DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       30 * time.Second,
}

type answer struct {
	*http.Response
	body string
}

// get asks for a path; headers come in pairs.
func (b *bench) get(path string, headers ...string) answer {
	b.t.Helper()
	return b.do(http.MethodGet, path, headers...)
}

func (b *bench) do(method, path string, headers ...string) answer {
	b.t.Helper()
	req, err := http.NewRequest(method, b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp, string(body)}
}

// plain is the body without its coding.
func (a answer) plain(t testing.TB) string {
	t.Helper()
	var from io.Reader = strings.NewReader(a.body)
	var err error
	switch a.Header.Get("Content-Encoding") {
	case "br":
		from = brotli.NewReader(from)
	case "zstd":
		from, err = zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
	case "gzip":
		from, err = gzip.NewReader(from)
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// want checks a header.
func (a answer) want(t testing.TB, header, value string) {
	t.Helper()
	if got := a.Header.Get(header); got != value {
		t.Errorf("%s %s: %s is %q, not %q", a.Request.Method, a.Request.URL.Path, header, got, value)
	}
}

// counted is the real store, with a count of what it was asked.
type counted struct {
	*objects.Store
	gets, stats atomic.Int64
}

func (c *counted) Get(ctx context.Context, key string, most int64) (objects.Object, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, key, most)
}

func (c *counted) Stat(ctx context.Context, key string) (objects.Info, error) {
	c.stats.Add(1)
	return c.Store.Stat(ctx, key)
}

// noArticles is the log of those who have not published yet.
type noArticles struct{}

func (noArticles) Get(context.Context, streams.Key, uint64) (streams.Entry, error) {
	return streams.Entry{}, streams.ErrNotFound
}
