package article

import (
	"reflect"
	"testing"

	"github.com/loa-syndication/loa/events"
)

func TestWithMediaResolvesACopy(t *testing.T) {
	newArticle := func() *Article {
		return &Article{
			Title: "Cầu mới",
			Body:  `<img src="loa-media:media/ab/w640.jpg" srcset="loa-media:media/ab/w320.jpg 320w, loa-media:media/ab/w640.jpg 640w"/>`,
			Images: []Image{{
				SHA256:     "ab",
				Original:   events.Rendition{URL: "media/ab/original.jpg", Width: 4000},
				Renditions: []events.Rendition{{URL: "loa-media:media/ab/w640.jpg"}},
			}, {Fault: "time-out"}},
		}
	}
	a := newArticle()
	for _, base := range []string{"https://loa.example.vn", "https://loa.example.vn/"} {
		got := a.WithMedia(base)
		if want := `<img src="https://loa.example.vn/media/ab/w640.jpg" srcset="https://loa.example.vn/media/ab/w320.jpg 320w, https://loa.example.vn/media/ab/w640.jpg 640w"/>`; got.Body != want {
			t.Errorf("body %s", got.Body)
		}
		if u := got.Images[0].Original.URL; u != "https://loa.example.vn/media/ab/original.jpg" {
			t.Errorf("original %s", u)
		}
		if u := got.Images[0].Renditions[0].URL; u != "https://loa.example.vn/media/ab/w640.jpg" {
			t.Errorf("rendition %s", u)
		}
		if u := got.Images[1].Original.URL; u != "" {
			t.Errorf("a picture that is missing got the address %s", u)
		}
		if again := got.WithMedia(base); !reflect.DeepEqual(again, got) {
			t.Errorf("resolved twice: %+v", again)
		}
	}
	if !reflect.DeepEqual(a, newArticle()) {
		t.Errorf("the article itself changed: %+v", a)
	}
}

func TestResolveLink(t *testing.T) {
	for ref, want := range map[string]string{
		"ảnh 1.jpg":                 "https://hoabinh.example.vn/tin/2023/%E1%BA%A3nh%201.jpg",
		"https://a.example/?f=/b/c": "https://a.example/?f=/b/c",
		"http://[2001:db8::1]:80/a": "http://[2001:db8::1]:80/a",
		"http://tỉnh.example:8080/": "http://xn--tnh-dlz.example:8080/",
		"http://a\"b/":              "",
		"http://_a.example/":        "",
		"mailto:a@example.vn":       "",
		"cid:1":                     "",
	} {
		if got, ok := ResolveLink(page, ref); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", ref, got, ok)
		}
	}
}
