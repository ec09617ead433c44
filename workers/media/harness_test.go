package media

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/loatest/faultproxy"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/streams"
)

// bench is a store over embedded servers, with a CMS that serves pictures.
type bench struct {
	*Store
	t       *testing.T
	objects *objects.Store
	kv      jetstream.KeyValue
	metrics *prometheus.Registry
	// s3Down makes S3 answer 503.
	s3Down atomic.Bool
	cms    *cms
}

func newBench(t *testing.T, change ...func(*Options)) *bench {
	t.Helper()
	b := &bench{t: t, metrics: prometheus.NewRegistry(), cms: newCMS(t)}
	js := loatest.NATS(t)
	var err error
	if b.kv, err = js.KeyValue(t.Context(), streams.MediaBucket); err != nil {
		t.Fatal(err)
	}
	b.objects = b.startS3()
	client := outbound.New(outbound.Options{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, MaxRedirects: 3, Timeout: 2 * time.Second,
	})
	t.Cleanup(client.CloseIdleConnections)
	o := Options{Objects: b.objects, Index: b.kv, Client: client, Registerer: b.metrics}
	for _, c := range change {
		c(&o)
	}
	b.Store = New(o)
	t.Cleanup(b.Close)
	return b
}

// startS3 puts a proxy before the server, which can be told to answer 503.
func (b *bench) startS3() *objects.Store {
	s3, err := embedded.StartS3(b.t.Context(), embedded.S3Options{Dir: b.t.TempDir()})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s3.Shutdown)
	proxy := faultproxy.Start(b.t, s3.Endpoint())
	proxy.Set(func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if b.s3Down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		pass.ServeHTTP(w, r)
	})
	login := s3.Credentials()
	store, err := objects.Open(b.t.Context(), objects.Options{
		Endpoint: proxy.Addr, AccessKey: login.Name, SecretKey: login.Secret.Reveal(), Bucket: "loa",
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(store.Close)
	return store
}

// count reads a counter.
func (b *bench) count(name string) int {
	b.t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "loa_media_"+name+"_total" {
			return int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	b.t.Fatalf("no counter %s", name)
	return 0
}

func (b *bench) wantCounts(want map[string]int) {
	b.t.Helper()
	for name, n := range want {
		if got := b.count(name); got != n {
			b.t.Errorf("loa_media_%s_total is %d; want %d", name, got, n)
		}
	}
}

// cms serves pictures under paths, and counts requests.
type cms struct {
	url  string
	mu   sync.Mutex
	page map[string]http.HandlerFunc
	hits map[string]int
}

func newCMS(t *testing.T) *cms {
	c := &cms{page: map[string]http.HandlerFunc{}, hits: map[string]int{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		h := c.page[r.URL.Path]
		c.hits[r.URL.Path]++
		c.mu.Unlock()
		if h == nil {
			http.NotFound(w, r)
			return
		}
		h(w, r)
	}))
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

// serve sets what is at a path, and returns its address.
func (c *cms) serve(path string, h http.HandlerFunc) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.page[path] = h
	return c.url + path
}

func (c *cms) requests(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits[path]
}

func file(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { w.Write(data) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }
}

func draw(w, h int, seed uint8) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetRGBA(x, y, color.RGBA{uint8(x * 200 / w), uint8(y * 200 / h), seed, 255})
		}
	}
	return img
}

func jpegFile(t testing.TB, w, h int, seed uint8) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, draw(w, h, seed), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngFile(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, draw(w, h, 0)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
