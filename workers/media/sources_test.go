package media

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/workers/media/picture"
)

func TestCredentialsGoToTheirSiteAlone(t *testing.T) {
	t.Parallel()
	behind, other := newCMS(t), newCMS(t)
	site, err := url.Parse(behind.url)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(o *Options) {
		o.Credentials = []Credential{{Site: site, User: "loa", Password: secret.Secret("mật khẩu")}}
	})
	data := jpegFile(t, 40, 30, 1)
	guarded := func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "loa" || password != "mật khẩu" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Write(data)
	}
	var leaked atomic.Bool
	open := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Store(true)
		}
		w.Write(data)
	}
	there := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	kept := behind.serve("/kin.jpg", guarded)
	b.must(events.Image{URL: kept})
	b.must(events.Image{URL: other.serve("/mo.jpg", open)})
	b.must(events.Image{URL: behind.serve("/di.jpg", there(other.serve("/den.jpg", open)))})
	if leaked.Load() {
		t.Error("another site was told the password")
	}
	_, err = b.Store.Store(t.Context(), events.Image{URL: other.serve("/lua.jpg", there(kept))})
	wantPermanent(t, err, "401 Unauthorized")
	if strings.Contains(err.Error(), "mật khẩu") {
		t.Error("the error tells the password")
	}
}

func TestRequestsToOneHostAreBounded(t *testing.T) {
	t.Parallel()
	const most, pictures = 2, 6
	b := newBench(t, func(o *Options) { o.PerHost = most })
	slow, other := newCMS(t), newCMS(t)
	var now, peak atomic.Int32
	free := make(chan struct{})
	var group sync.WaitGroup
	for i := range pictures {
		address := slow.serve(fmt.Sprintf("/%d.jpg", i), func(w http.ResponseWriter, r *http.Request) {
			n := now.Add(1)
			defer now.Add(-1)
			for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
			}
			<-free
			w.Write(jpegFile(t, 40, 30, uint8(i)))
		})
		group.Go(func() {
			if _, err := b.Store.Store(t.Context(), events.Image{URL: address}); err != nil {
				t.Error(err)
			}
		})
	}
	loatest.Eventually(t, "the host is as busy as it may be", func() bool { return now.Load() == most })
	b.must(events.Image{URL: other.serve("/1.jpg", file(jpegFile(t, 40, 30, 99)))}) // another one is free
	close(free)
	group.Wait()
	if n := peak.Load(); n > most {
		t.Errorf("%d requests at once, at most %d", n, most)
	}
	if n := len(b.hosts.slots); n != 0 {
		t.Errorf("%d hosts are remembered that nobody calls", n)
	}
}

func TestPicturesComeFromBuckets(t *testing.T) {
	t.Parallel()
	away, err := objects.OpenForeign(objects.Options{Endpoint: "127.0.0.1:1", Bucket: "xa-xoi"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(away.Close)
	b := newBench(t, func(o *Options) {
		o.MaxBytes = 64 << 10
		o.Buckets = map[string]Bucket{"anh-goc": o.Objects.(*objects.Store), "xa-xoi": away}
	})
	put := func(key string, body []byte) {
		t.Helper()
		if _, err := b.objects.Put(t.Context(), key, body, objects.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	first, second := jpegFile(t, 400, 300, 1), jpegFile(t, 400, 300, 99)
	put("goc/2026/trạm 1.jpg", first)
	img := events.Image{URL: "s3://anh-goc/goc/2026/tr%E1%BA%A1m%201.jpg", Role: events.RoleLead}
	if got := b.must(img); got.SHA256 != hash(first) || got.URL != img.URL {
		t.Errorf("stored %s of %s", got.SHA256, got.URL)
	}
	b.must(img)
	b.age(img.URL)
	b.must(img) // it is asked whether it changed
	b.wantCounts(map[string]int{"fetched": 1, "stored": 1, "reused": 2})
	put("goc/2026/trạm 1.jpg", second)
	b.age(img.URL)
	if got := b.must(img); got.SHA256 != hash(second) {
		t.Error("the change was not seen")
	}

	put("goc/to.jpg", make([]byte, 65<<10))
	for address, says := range map[string]string{
		"s3://anh-khac/1.jpg":            `bucket "anh-khac" is not one that pictures may be taken from`,
		"s3://anh-goc/goc/khong-co.jpg":  "not found",
		"s3://anh-goc/goc/to.jpg":        "66560 bytes, at most 65536",
		"s3://anh-goc/":                  "address",
		"s3://anh-goc/../articles/x.jpg": "address",
	} {
		_, err := b.Store.Store(t.Context(), events.Image{URL: address})
		wantPermanent(t, err, says)
	}
	_, err = b.Store.Store(t.Context(), events.Image{URL: "s3://xa-xoi/1.jpg"})
	wantPassing(t, err, "xa-xoi")
	if errors.Is(err, objects.ErrUnavailable) {
		t.Error("that a foreign bucket is away is taken for the store's own being away")
	}
}

func TestCropsFollowTheFocalPoint(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) {
		o.Forms = picture.DefaultForms()
		o.Forms.Widths, o.Forms.Crops = []int{160}, []picture.Crop{picture.Square, picture.Wide}
	})
	img := events.Image{URL: b.cms.serve("/1.jpg", file(jpegFile(t, 400, 300, 1)))}
	crops := func(img events.Image) (names []string) {
		t.Helper()
		got := b.must(img)
		for _, c := range got.Crops {
			name := c.URL[strings.LastIndex(c.URL, "/")+1:]
			names = append(names, fmt.Sprintf("%s %s %dx%d", c.Ratio, name, c.Width, c.Height))
			o, err := b.objects.Get(t.Context(), strings.TrimPrefix(c.URL, "loa-media:"), objects.MaxBody)
			if err != nil || int64(len(o.Body)) != c.Size || o.ContentType != c.MediaType {
				t.Errorf("%s: %d bytes of %s, %v", name, len(o.Body), o.ContentType, err)
			}
		}
		if len(got.Renditions) != 2 || got.Colour == "" || len(got.Thumbhash) == 0 {
			t.Errorf("picture %+v", got)
		}
		return names
	}
	want := "[1:1 w160-1x1-50-50.jpg 160x160 1:1 w160-1x1-50-50.webp 160x160 16:9 w160-16x9-50-50.jpg 160x90 16:9 w160-16x9-50-50.webp 160x90]"
	if got := fmt.Sprint(crops(img)); got != want {
		t.Errorf("crops %s\nwant  %s", got, want)
	}
	img.Focal = &events.Focal{X: 0.204, Y: 1}
	for range 2 {
		if got := fmt.Sprint(crops(img)); got != strings.ReplaceAll(want, "-50-50", "-20-100") {
			t.Errorf("about a point: %s", got)
		}
	}
	b.wantCounts(map[string]int{"fetched": 1, "stored": 1, "rendered": 2})
}

func TestHEICIsConverted(t *testing.T) {
	t.Parallel()
	heic, err := os.ReadFile("picture/testdata/card.heic")
	if err != nil {
		t.Fatal(err)
	}
	without := newBench(t)
	_, err = without.Store.Store(t.Context(), events.Image{Data: heic, ContentID: "a"})
	wantPermanent(t, err, "HEIC can be read where vipsthumbnail (libvips) is installed, which it is not here")

	converter := picture.FindConverter("vipsthumbnail")
	if converter == nil {
		t.Skip("vipsthumbnail is not installed")
	}
	b := newBench(t, func(o *Options) { o.Convert = converter })
	for range 2 {
		got := b.must(events.Image{URL: b.cms.serve("/1.heic", file(heic))})
		if got.SHA256 != hash(heic) || got.Original.MediaType != "image/jpeg" || got.Original.Width != 600 {
			t.Errorf("picture %+v", got)
		}
		b.wantStored(got)
	}
	b.must(events.Image{Data: heic, ContentID: "a"})
	b.wantCounts(map[string]int{"fetched": 1, "rendered": 1, "stored": 1, "reused": 2})
}
