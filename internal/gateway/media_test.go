package gateway_test

import (
	"bytes"
	"image"
	"image/png"
	"net/http"
	"strings"
	"testing"

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
		"/media/" + hash + "/w0.jpg", "/media/" + hash + "/w640.webp/", "/media/" + hash + "/original.jpg",
		"/media/../articles/phuong-cau-go/1.json", "/articles/phuong-cau-go/1.json",
	} {
		if a := b.get(path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
}
