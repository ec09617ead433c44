package media

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/deepteams/webp"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/workers/media/picture"
)

func (b *bench) must(img events.Image) article.Image {
	b.t.Helper()
	out, err := b.Store.Store(b.t.Context(), img)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// wantStored reads everything back that an article would link to.
func (b *bench) wantStored(img article.Image) {
	b.t.Helper()
	for _, r := range append([]events.Rendition{img.Original}, img.Renditions...) {
		key, ok := strings.CutPrefix(r.URL, article.MediaScheme+"media/"+img.SHA256+"/")
		if !ok {
			b.t.Errorf("address %s", r.URL)
			continue
		}
		o, err := b.objects.Get(b.t.Context(), "media/"+img.SHA256+"/"+key, 1<<25)
		if err != nil {
			b.t.Error(err)
			continue
		}
		if o.ContentType != r.MediaType || o.CacheControl != "public, max-age=31536000, immutable" || int64(len(o.Body)) != r.Size {
			b.t.Errorf("%s: %+v of %d bytes", key, o.Meta, len(o.Body))
		}
		got, format, err := image.DecodeConfig(bytes.NewReader(o.Body))
		if err != nil || got.Width != r.Width || got.Height != r.Height || "image/"+format != r.MediaType {
			b.t.Errorf("%s: %s of %d x %d, %v; said to be %+v", key, format, got.Width, got.Height, err, r)
		}
	}
}

func wantPermanent(t *testing.T, err error, says string) {
	t.Helper()
	var p *PermanentError
	if !errors.As(err, &p) || !strings.Contains(p.Error(), says) {
		t.Fatalf("got %v; want a permanent error that says %q", err, says)
	}
}

func wantPassing(t *testing.T, err error, says string) {
	t.Helper()
	var p *PermanentError
	if err == nil || errors.As(err, &p) || !strings.Contains(err.Error(), says) {
		t.Fatalf("got %v; want an error that may pass and says %q", err, says)
	}
}

func TestPictureIsStoredWithItsRenditions(t *testing.T) {
	if testing.Short() {
		t.Skip("renders a large picture")
	}
	t.Parallel()
	b := newBench(t)
	data := jpegFile(t, 1600, 1200, 1)
	img := events.Image{URL: b.cms.serve("/anh.jpg", file(data)), Role: events.RoleLead, Alt: "Chợ nổi", Credit: "Báo Phường"}
	got := b.must(img)
	if got.Image.URL != img.URL || got.Alt != img.Alt || got.Role != img.Role || got.Credit != img.Credit || got.Fault != "" {
		t.Errorf("the event's words are not kept: %+v", got.Image)
	}
	if got.SHA256 != hash(data) || got.Original.Width != 1600 || got.Original.Height != 1200 {
		t.Errorf("original %+v of %s", got.Original, got.SHA256)
	}
	var names []string
	for _, r := range got.Renditions {
		names = append(names, fmt.Sprintf("%s %dx%d", r.URL[strings.LastIndex(r.URL, "/")+1:], r.Width, r.Height))
	}
	want := "w320.jpg 320x240, w320.webp 320x240, w640.jpg 640x480, w640.webp 640x480, w1280.jpg 1280x960, w1280.webp 1280x960"
	if s := strings.Join(names, ", "); s != want {
		t.Errorf("renditions %s; want %s", s, want)
	}
	b.wantStored(got)
	b.wantCounts(map[string]int{"fetched": 1, "stored": 1, "reused": 0, "refused": 0, "failed": 0})
}

func TestInlinePictureIsStored(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	got := b.must(events.Image{Data: pngFile(t, 500, 400), ContentID: "so-do", Role: events.RoleInline})
	if got.Data != nil || got.ContentID != "so-do" {
		t.Errorf("%d bytes of data, content id %q", len(got.Data), got.ContentID)
	}
	if n := len(got.Renditions); n != 4 || got.Renditions[n-1].Width != 500 {
		t.Errorf("%d renditions, the last %+v", n, got.Renditions[n-1])
	}
	if !strings.HasSuffix(got.Original.URL, "/original.png") {
		t.Errorf("original %s", got.Original.URL)
	}
	b.wantStored(got)
}

func TestContentDecidesOnTheFormat(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	url := b.cms.serve("/anh.jpg", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write(pngFile(t, 30, 30))
	})
	if got := b.must(events.Image{URL: url}); got.Original.MediaType != "image/png" {
		t.Errorf("media type %s", got.Original.MediaType)
	}
}

func TestSamePictureIsFetchedAndStoredOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	data := jpegFile(t, 400, 300, 1)
	one := events.Image{URL: b.cms.serve("/1.jpg", file(data))}
	first := b.must(one)
	second := b.must(one)
	if fmt.Sprint(first) != fmt.Sprint(second) {
		t.Errorf("the second answer differs: %+v", second)
	}
	b.wantCounts(map[string]int{"fetched": 1, "stored": 1, "reused": 1})

	b.must(events.Image{URL: b.cms.serve("/2.jpg", file(data))})
	b.must(events.Image{Data: data})
	b.wantCounts(map[string]int{"fetched": 2, "stored": 1, "reused": 3})

	other := New(Options{Objects: b.objects, Index: b.kv, Client: b.o.Client}) // another process
	defer other.Close()
	if got, err := other.Store(t.Context(), one); err != nil || got.SHA256 != first.SHA256 {
		t.Errorf("%+v, %v", got, err)
	}
	if n := b.cms.requests("/1.jpg"); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestConcurrentRequestsAreOneFetch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	data := jpegFile(t, 400, 300, 1)
	const callers = 12
	var asked atomic.Int32
	all := make(chan struct{})
	url := b.cms.serve("/1.jpg", func(w http.ResponseWriter, r *http.Request) {
		<-all
		w.Write(data)
	})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if asked.Add(1) == callers {
				close(all)
			}
			if _, err := b.Store.Store(t.Context(), events.Image{URL: url}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := b.cms.requests("/1.jpg"); n != 1 {
		t.Errorf("%d requests", n)
	}
	b.wantCounts(map[string]int{"fetched": 1, "stored": 1})
}

func TestConcurrentRequestsForTheSameBytesAreOneRendering(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	data := jpegFile(t, 800, 600, 1)
	var wg sync.WaitGroup
	for i := range 8 {
		img := events.Image{Data: data}
		if i%2 == 0 {
			img = events.Image{URL: b.cms.serve(fmt.Sprintf("/%d.jpg", i), file(data))}
		}
		wg.Go(func() {
			if _, err := b.Store.Store(t.Context(), img); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.wantCounts(map[string]int{"stored": 1})
}

// age makes an address's entry older than freshFor.
func (b *bench) age(url string) {
	b.t.Helper()
	src, err := b.index.source(b.t.Context(), url)
	if err != nil || src == nil {
		b.t.Fatalf("no entry for %s: %v", url, err)
	}
	src.Checked = src.Checked.Add(-2 * freshFor)
	if err := b.index.putSource(b.t.Context(), *src); err != nil {
		b.t.Fatal(err)
	}
}

func TestServerIsAskedWhetherAnOldPictureChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	old := jpegFile(t, 400, 300, 1)
	img := events.Image{URL: b.cms.serve("/1.jpg", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(http.StatusNotModified) // as some servers do, without the validator
			return
		}
		w.Header().Set("ETag", `"v1"`)
		w.Write(old)
	})}
	first := b.must(img)
	for range 2 { // the validator survives a 304
		b.age(img.URL)
		if got := b.must(img); got.SHA256 != first.SHA256 {
			t.Error("another picture")
		}
	}
	b.wantCounts(map[string]int{"fetched": 1, "reused": 2})
	if n := b.cms.requests("/1.jpg"); n != 3 {
		t.Errorf("asked %d times; want 3", n)
	}

	b.cms.serve("/1.jpg", file(jpegFile(t, 400, 300, 99)))
	b.age(img.URL)
	if got := b.must(img); got.SHA256 == first.SHA256 {
		t.Error("the change was not seen")
	}
}

func TestFormerPictureIsKeptWhileItsServerFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	img := events.Image{URL: b.cms.serve("/1.jpg", file(jpegFile(t, 40, 30, 1)))}
	first := b.must(img)
	b.age(img.URL)
	b.cms.serve("/1.jpg", status(http.StatusBadGateway))
	if got := b.must(img); got.SHA256 != first.SHA256 {
		t.Errorf("%+v", got)
	}
	b.cms.serve("/1.jpg", status(http.StatusGone))
	_, err := b.Store.Store(t.Context(), img)
	wantPermanent(t, err, "410 Gone")
}

func TestFailuresAreToldApart(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) { o.MaxBytes = 64 << 10 })
	long := bytes.Repeat([]byte("x"), 65<<10)
	redirect := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == strings.Repeat("n", n) {
				w.Write(jpegFile(t, 20, 20, 5))
				return
			}
			http.Redirect(w, r, r.URL.Path+"?"+r.URL.RawQuery+"n", http.StatusFound)
		}
	}
	permanent := map[string]string{ // address → what the error says
		b.cms.url + "/404":                                "404 Not Found",
		b.cms.serve("/403", status(403)):                  "403 Forbidden",
		b.cms.serve("/html", file([]byte("<html>login"))): "HTML page",
		b.cms.serve("/svg", file([]byte("<svg></svg>"))):  "SVG",
		b.cms.serve("/empty", file(nil)):                  "empty file",
		b.cms.serve("/long", func(w http.ResponseWriter, r *http.Request) { w.Write(long); w.(http.Flusher).Flush() }): "65536",
		b.cms.serve("/announced", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "99999999")
			w.Write(long)
		}): "99999999 bytes, at most 65536",
		b.cms.serve("/redirect4", redirect(4)): "more than 3 redirects",
		b.cms.serve("/inward", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		}): "169.254.0.0/16",
		"http://10.0.0.1/1.jpg": "10.0.0.0/8", "file:///etc/passwd": "scheme file", "": "not an absolute URL",
		"http://2130706433/1.jpg": "unusual form", "https://a:b@example.vn/": "user name or password",
	}
	for url, says := range permanent {
		t.Run(says, func(t *testing.T) {
			got, err := b.Store.Store(t.Context(), events.Image{URL: url})
			wantPermanent(t, err, says)
			if got.Stored() || !strings.Contains(got.Fault, says) {
				t.Errorf("%+v", got)
			}
		})
	}
	for url, says := range map[string]string{
		b.cms.serve("/500", status(500)): "500",
		b.cms.serve("/503", status(503)): "503",
		b.cms.serve("/429", status(429)): "429",
		b.cms.serve("/broken", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5000")
			w.Write(jpegFile(t, 20, 20, 5)[:100])
		}): "unexpected EOF",
		b.cms.serve("/slow", func(w http.ResponseWriter, r *http.Request) {
			w.Write(jpegFile(t, 20, 20, 5)[:100])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}): "read body after 100 bytes",
		"http://127.0.0.1:1024/closed.jpg":      "refused",
		"https://khong-co.invalid/khong-co.jpg": "khong-co.invalid",
	} {
		t.Run(says, func(t *testing.T) {
			_, err := b.Store.Store(t.Context(), events.Image{URL: url})
			wantPassing(t, err, says)
		})
	}
	b.wantCounts(map[string]int{"refused": len(permanent), "failed": 7, "stored": 0})
	b.must(events.Image{URL: b.cms.serve("/redirect3", redirect(3))})

	_, err := b.Store.Store(t.Context(), events.Image{Data: long})
	wantPermanent(t, err, "66560 bytes, at most 65536")
}

func TestRefusedPictureSaysLimitAndValue(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) { o.Limits = picture.Limits{Pixels: 1000} })
	_, err := b.Store.Store(t.Context(), events.Image{Data: pngFile(t, 50, 40)})
	wantPermanent(t, err, "2000 pixels, at most 1000")
}

func TestStorageAwayIsRecognised(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	img := events.Image{URL: b.cms.serve("/1.jpg", file(jpegFile(t, 400, 300, 1)))}
	b.s3Down.Store(true)
	_, err := b.Store.Store(t.Context(), img)
	wantPassing(t, err, "")
	if !errors.Is(err, objects.ErrUnavailable) {
		t.Fatalf("got %v; want ErrUnavailable", err)
	}
	b.s3Down.Store(false)
	b.wantStored(b.must(img))
}

// failing stands before the bucket and lets the n-th write fail, before or after it happened.
type failing struct {
	Objects
	n         atomic.Int32
	persisted bool
}

func (f *failing) Put(ctx context.Context, key string, body []byte, m objects.Meta) (string, error) {
	fail := f.n.Add(-1) == 0
	if fail && !f.persisted {
		return "", objects.ErrUnavailable
	}
	etag, err := f.Objects.Put(ctx, key, body, m)
	if fail {
		return "", objects.ErrUnavailable
	}
	return etag, err
}

func TestNoWriteThatFailsLeavesAPictureHalfStored(t *testing.T) {
	t.Parallel()
	f := &failing{}
	b := newBench(t, func(o *Options) { f.Objects, o.Objects = o.Objects, f })
	const writes = 5 // two widths in two formats, and the original
	for _, f.persisted = range []bool{false, true} {
		for n := range int32(writes) {
			data := jpegFile(t, 330, 40, uint8(2*n))
			if f.persisted {
				data = jpegFile(t, 331, 40, uint8(2*n))
			}
			f.n.Store(n + 1)
			if _, err := b.Store.Store(t.Context(), events.Image{Data: data}); !errors.Is(err, objects.ErrUnavailable) {
				t.Fatalf("write %d: %v", n, err)
			}
			if p, err := b.index.stored(t.Context(), "sha", hash(data)); p != nil || err != nil {
				t.Fatalf("write %d failed, and the picture is in the index: %v", n, err)
			}
			b.wantStored(b.must(events.Image{Data: data}))
		}
	}
}

func TestPictureThatTheBucketLostIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	img := events.Image{URL: b.cms.serve("/1.jpg", file(jpegFile(t, 40, 30, 1)))}
	got := b.must(img)
	if err := b.objects.Delete(t.Context(), "media/"+got.SHA256+"/original.jpg"); err != nil {
		t.Fatal(err)
	}
	b.wantStored(b.must(img))
	b.wantCounts(map[string]int{"fetched": 2, "stored": 2, "reused": 0})
}

func TestIndexThatCannotBeReadIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	data := jpegFile(t, 40, 30, 1)
	img := events.Image{URL: b.cms.serve("/1.jpg", file(data))}
	b.must(img)
	for _, key := range []string{"url." + hash([]byte(img.URL)), "sha." + hash(data)} {
		for _, junk := range []string{"", "{", "{}", "null", `{"sha256":"` + strings.Repeat("0", 64) + `"}`} {
			if _, err := b.kv.PutString(t.Context(), key, junk); err != nil {
				t.Fatal(err)
			}
			b.wantStored(b.must(img))
			entry, err := b.kv.Get(t.Context(), key)
			if err != nil || !json.Valid(entry.Value()) || len(entry.Value()) < 100 {
				t.Errorf("%s after %q: %s, %v", key[:4], junk, entry.Value(), err)
			}
		}
	}
}

func TestCallerMayGoAndComeBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	release := make(chan struct{})
	url := b.cms.serve("/1.jpg", func(w http.ResponseWriter, r *http.Request) {
		<-release
		w.Write(jpegFile(t, 40, 30, 1))
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := b.Store.Store(ctx, events.Image{URL: url})
		done <- err
	}()
	loatest.Eventually(t, "the picture is asked for", func() bool { return b.cms.requests("/1.jpg") == 1 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(release)
	loatest.Eventually(t, "the picture is stored all the same", func() bool { return b.count("stored") == 1 })
	b.must(events.Image{URL: url})
	if n := b.cms.requests("/1.jpg"); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	url := b.cms.serve("/1.jpg", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	done := make(chan error, 1)
	go func() {
		_, err := b.Store.Store(t.Context(), events.Image{URL: url})
		done <- err
	}()
	loatest.Eventually(t, "the picture is asked for", func() bool { return b.cms.requests("/1.jpg") == 1 })
	b.Close()
	wantPassing(t, <-done, "canceled")
	_, err := b.Store.Store(t.Context(), events.Image{Data: jpegFile(t, 40, 30, 1)})
	wantPassing(t, err, "closed")
}

func TestManyPicturesShareLittleMemory(t *testing.T) {
	t.Parallel()
	one := jpegFile(t, 600, 400, 0)
	p, err := picture.Open(one, picture.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	// Memory for one and a half: they wait for each other, and all come through.
	b := newBench(t, func(o *Options) { o.Decoding, o.Bodies = p.Memory*3/2, int64(len(one))*3/2 })
	var wg sync.WaitGroup
	for i := range uint8(6) {
		data := jpegFile(t, 600, 400, i*9)
		url := b.cms.serve(fmt.Sprintf("/%d.jpg", i), func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			io.Copy(w, bytes.NewReader(data))
		})
		wg.Go(func() {
			if _, err := b.Store.Store(t.Context(), events.Image{URL: url}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.wantCounts(map[string]int{"stored": 6})
}
