package importer

import (
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// HurriedFetcher calls loopback too, and does not pause.
func HurriedFetcher() *Fetcher {
	f := NewFetcher([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	f.pace, f.pause = 0, time.Millisecond
	return f
}

// ParseFeed gives how many items there are in a document.
func ParseFeed(body []byte) (int, error) {
	base, err := url.Parse("https://caugo.example.vn/rss")
	if err != nil {
		return 0, err
	}
	doc, err := parseDocument(body, "", base)
	if err != nil {
		return 0, err
	}
	n := 0
	(&Feed{Site: "phuong-cau-go"}).give(doc, base, map[string]bool{}, func(Item, error) bool { n++; return true })
	return n, nil
}

// Freshness is how long an answer may be kept.
func Freshness(h http.Header) time.Duration { return freshness(h, time.Now()) }

// Pause is how long a feed is left alone after a poll.
func (w *Watch) Pause(err error) time.Duration { return w.pause(err) }

// Slug makes a category's id.
var Slug = slug
