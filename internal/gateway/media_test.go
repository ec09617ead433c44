package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
)

const hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// picture stores one and gives its bytes.
func (b *bench) picture(name string) string {
	b.t.Helper()
	var body bytes.Buffer
	if err := png.Encode(&body, image.NewGray(image.Rect(0, 0, 300, 200))); err != nil {
		b.t.Fatal(err)
	}
	b.put("media/"+hash+"/"+name, body.String(), objects.Meta{ContentType: "text/html"}) // which must not be believed
	return body.String()
}

func TestPicturesAreForEver(t *testing.T) {
	t.Parallel()
	b := start(t)
	body := b.picture("original.png")
	a := b.get("/media/" + hash + "/original.png")
	if a.StatusCode != http.StatusOK || a.body != body {
		t.Fatal(a.Status)
	}
	a.want(t, "Content-Type", "image/png")
	a.want(t, "Cache-Control", "public, max-age=31536000, immutable")
	a.want(t, "X-Content-Type-Options", "nosniff")
	a.want(t, "Content-Security-Policy", "default-src 'none'; sandbox")
	if a.ContentLength != int64(len(body)) {
		t.Errorf("length %d", a.ContentLength)
	}
	if again := b.get("/media/"+hash+"/original.png", "If-None-Match", a.Header.Get("Etag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("with its tag: %s", again.Status)
	}
	if head := b.do(http.MethodHead, "/media/"+hash+"/original.png"); head.body != "" || head.ContentLength != int64(len(body)) {
		t.Errorf("HEAD: %d bytes", head.ContentLength)
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	b := start(t)
	body := b.picture("w640.webp")
	for _, c := range []struct {
		ranges string
		status int
		want   string
	}{
		{"bytes=0-9", http.StatusPartialContent, body[:10]},
		{"bytes=10-", http.StatusPartialContent, body[10:]},
		{"bytes=-5", http.StatusPartialContent, body[len(body)-5:]},
		{"bytes=0-0,2-3", http.StatusOK, body}, // several are ignored
		{"bytes=" + strings.Repeat("0-,", 999) + "0-", http.StatusOK, body},
		{"lines=1-2", http.StatusRequestedRangeNotSatisfiable, ""},
		{"bytes=999999-", http.StatusRequestedRangeNotSatisfiable, ""},
	} {
		a := b.get("/media/"+hash+"/w640.webp", "Range", c.ranges)
		if a.StatusCode != c.status || c.want != "" && a.body != c.want {
			t.Errorf("%.30s: %s with %d bytes", c.ranges, a.Status, len(a.body))
		}
	}
}

func TestOnlyPicturesAreServedFromTheMediaFolder(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.put("media/"+hash+"/notes.txt", "nội bộ", objects.Meta{})
	b.put("media/x/original.jpg", "x", objects.Meta{})
	b.put("articles/phuong-cau-go/1.json", "{}", objects.Meta{})
	for _, path := range []string{
		"/media/", "/media", "/media/" + hash, "/media/" + hash + "/",
		"/media/" + hash + "/notes.txt", "/media/x/original.jpg",
		"/media/" + strings.ToUpper(hash) + "/original.jpg",
		"/media/" + hash + "/original.svg", "/media/" + hash + "/original.jpg.html",
		"/media/" + hash + "/original", "/media/" + hash + "/w0.jpg", "/media/" + hash + "/w320", "/media/" + hash + "/w640.webp/", "/media/" + hash + "/original.jpg",
		"/media/../articles/phuong-cau-go/1.json", "/articles/phuong-cau-go/1.json",
	} {
		if a := b.get(path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
}

func TestOneAddressGivesWebPOrJPEG(t *testing.T) {
	t.Parallel()
	b := start(t)
	put := func(name, body string) { b.put("media/"+hash+"/"+name, body, objects.Meta{}) }
	put("w320.jpg", "a JPEG")
	put("w320.webp", "a WebP")
	put("w640.webp", "a WebP alone")
	put("w1280.jpg", "a JPEG alone")
	for _, c := range []struct{ file, accept, body string }{
		{"w320", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "a WebP"},
		{"w320", "image/webp;q=0.5, image/jpeg;q=0.9", "a JPEG"},
		{"w320", "image/webp;q=0", "a JPEG"},
		{"w320", "IMAGE/WEBP", "a WebP"},
		{"w320", "*/*", "a JPEG"},
		{"w320", "", "a JPEG"},
		{"w640", "*/*", "a WebP alone"},
		{"w1280", "image/webp", "a JPEG alone"},
		{"w320.jpg", "image/webp", "a JPEG"},
	} {
		a := b.get("/media/"+hash+"/"+c.file, "Accept", c.accept)
		if a.StatusCode != http.StatusOK || a.body != c.body {
			t.Errorf("%s for %q: %s, %q", c.file, c.accept, a.Status, a.body)
		}
		a.want(t, "Content-Type", map[bool]string{true: "image/webp", false: "image/jpeg"}[strings.Contains(c.body, "WebP")])
		vary := "Accept"
		if strings.Contains(c.file, ".") {
			vary = ""
		}
		a.want(t, "Vary", vary)
	}
	jpeg := b.get("/media/" + hash + "/w320").Header.Get("Etag")
	if a := b.get("/media/"+hash+"/w320", "If-None-Match", jpeg, "Accept", "image/webp"); a.StatusCode != http.StatusOK {
		t.Errorf("the other format with this one's tag: %s", a.Status)
	}
}

func TestErasedPicturesAreGone(t *testing.T) {
	t.Parallel()
	var erased atomic.Bool
	b := start(t, func(o *gateway.Options) {
		o.Erased = func(_ context.Context, picture string) (bool, error) { return erased.Load() && picture == hash, nil }
	})
	b.picture("w640.jpg")
	address := "/media/" + hash + "/w640.jpg"
	if a := b.get(address); a.StatusCode != http.StatusOK {
		t.Fatal(a.Status)
	}
	erased.Store(true)
	if err := b.store.Delete(t.Context(), address[1:]); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "the cached picture is gone", func() bool { return b.get(address).StatusCode == http.StatusGone })
	gone := b.get("/media/"+hash+"/w640", "Range", "bytes=0-5")
	if gone.StatusCode != http.StatusGone {
		t.Errorf("without an ending: %s", gone.Status)
	}
	if caching := gone.Header.Get("Cache-Control"); strings.Contains(caching, "immutable") {
		t.Errorf("cached for ever: %s", caching)
	}
	if a := b.get("/media/" + strings.Repeat("0", 64) + "/w640.jpg"); a.StatusCode != http.StatusNotFound {
		t.Errorf("one that never was: %s", a.Status)
	}
	erased.Store(false)
	b.picture("w640.jpg")
	loatest.Eventually(t, "the picture is back", func() bool { return b.get(address).StatusCode == http.StatusOK })
}

func TestHotPicturesComeFromMemory(t *testing.T) {
	t.Parallel()
	b := start(t)
	body := b.picture("w320.jpg")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if a := b.get("/media/" + hash + "/w320.jpg"); a.body != body {
				t.Errorf("%s with %d bytes", a.Status, len(a.body))
			}
		})
	}
	all.Wait()
	if n := b.counted.gets.Load(); n != 1 {
		t.Errorf("the store was asked %d times", n)
	}
	// A large one passes by.
	large := strings.Repeat("x", gateway.MediaMost+1)
	b.put("media/"+hash+"/original.jpg", large, objects.Meta{})
	if a := b.get("/media/" + hash + "/original.jpg"); a.body != large {
		t.Errorf("a large one: %s with %d bytes", a.Status, len(a.body))
	}
	if a := b.get("/media/"+hash+"/original.jpg", "Range", "bytes=7-9"); a.StatusCode != http.StatusPartialContent || a.body != "xxx" {
		t.Errorf("part of a large one: %s with %d bytes", a.Status, len(a.body))
	}
	if bytes, n := b.gateway.CachedPictures(); n != 1 || bytes > 4<<10 {
		t.Errorf("%d pictures of %d bytes are cached", n, bytes)
	}
	// And the bytes are bounded.
	const most = 300 << 10
	b.gateway.LimitPictures(most)
	for i := range 20 {
		b.put(fmt.Sprintf("media/%s/w%d.jpg", hash, 1000+i), large[:50<<10], objects.Meta{})
		b.get(fmt.Sprintf("/media/%s/w%d.jpg", hash, 1000+i))
		if bytes, _ := b.gateway.CachedPictures(); bytes > most || bytes == 0 {
			t.Fatalf("%d bytes cached", bytes)
		}
	}
}

func TestRedirectionToAPublicBucket(t *testing.T) {
	t.Parallel()
	const gone = "0000000000000000000000000000000000000000000000000000000000000000"
	b := start(t, func(o *gateway.Options) {
		o.MediaRedirect = "https://cdn.anhoa.example/loa/"
		o.Erased = func(_ context.Context, picture string) (bool, error) { return picture == gone, nil }
	})
	for _, c := range []struct{ path, accept, location string }{
		{"/media/" + hash + "/original.png", "", "media/" + hash + "/original.png"},
		{"/media/" + hash + "/w640", "image/webp,*/*", "media/" + hash + "/w640.webp"},
		{"/media/" + hash + "/w640", "*/*", "media/" + hash + "/w640.jpg"},
	} {
		a := b.get(c.path, "Accept", c.accept)
		if a.StatusCode != http.StatusTemporaryRedirect {
			t.Errorf("%s: %s", c.path, a.Status)
		}
		a.want(t, "Location", "https://cdn.anhoa.example/loa/"+c.location)
	}
	if a := b.get("/media/" + gone + "/w640.jpg"); a.StatusCode != http.StatusGone {
		t.Errorf("an erased one: %s", a.Status)
	}
	if a := b.get("/media/" + hash + "/x.jpg"); a.StatusCode != http.StatusNotFound {
		t.Errorf("no picture: %s", a.Status)
	}
}
