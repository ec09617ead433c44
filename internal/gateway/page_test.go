package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/loa-syndication/loa/internal/gateway"
)

func someFeeds(context.Context) ([]gateway.FeedInfo, error) {
	return []gateway.FeedInfo{
		{ID: "thanh-pho--all", Title: "Thành phố An Hòa và các đơn vị trực thuộc", Site: "thanh-pho", Kind: "subtree"},
		{ID: "phuong-cau-go", Title: "Phường Cầu Gỗ", Site: "phuong-cau-go", Kind: "site"},
		{ID: "phuong-cau-go--in--y-te", Title: `Y tế <script>alert("1")</script>`, Site: "phuong-cau-go", Kind: gateway.FeedOfCategory},
		{ID: "khong-con", Title: "Không còn", Site: "khong-con", Kind: "site"},
	}, nil
}

func TestIndexListsSitesAndFeeds(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *gateway.Options) { o.Feeds = someFeeds })
	a := b.get("/", "Host", "evil.example")
	if a.StatusCode != http.StatusOK {
		t.Fatal(a.Status)
	}
	a.want(t, "Content-Type", "text/html; charset=utf-8")
	a.want(t, "Content-Security-Policy", gateway.Policy)
	doc, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	var links, alternates, elements []string
	var style string
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		elements = append(elements, n.Data)
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
		}
		switch n.Data {
		case "a":
			links = append(links, attr["href"])
		case "link":
			alternates = append(alternates, attr["type"]+" "+attr["href"])
		case "style":
			style = n.FirstChild.Data
		case "html":
			if attr["lang"] != "vi" {
				t.Errorf("lang %q", attr["lang"])
			}
		}
	}
	for _, want := range []string{
		public + "feeds/phuong-cau-go/feed.rss", public + "feeds/phuong-cau-go/feed.atom", public + "feeds/phuong-cau-go/feed.json",
		public + "feeds/phuong-cau-go--in--y-te/feed.rss", "https://anhoa.example/",
	} {
		if !slices.Contains(links, want) {
			t.Errorf("no link to %s among %q", want, links)
		}
	}
	if len(alternates) != 6 || alternates[0] != "application/rss+xml "+public+"feeds/thanh-pho--all/feed.rss" {
		t.Errorf("autodiscovery: %q", alternates)
	}
	if slices.Contains(elements, "script") || strings.Contains(a.body, "evil.example") || strings.Contains(a.body, "khong-con") {
		t.Errorf("something is on the page that must not be: %s", a.body)
	}
	sum := sha256.Sum256([]byte(style))
	if !strings.Contains(gateway.Policy, base64.StdEncoding.EncodeToString(sum[:])) {
		t.Error("the policy does not allow the page's style")
	}
	// The ward lies in the district, which lies in the city.
	if city, ward := strings.Index(a.body, "Thành phố An Hòa"), strings.Index(a.body, "Phường Cầu Gỗ &lt;1&gt;"); city < 0 || ward < city {
		t.Errorf("order of sites: %d, %d", city, ward)
	}
	if again := b.get("/", "If-None-Match", a.Header.Get("Etag")); again.StatusCode != http.StatusNotModified {
		t.Error(again.Status)
	}
}

func TestIndexOfManyFeedsIsBounded(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *gateway.Options) {
		o.Feeds = func(context.Context) (feeds []gateway.FeedInfo, _ error) {
			for i := range 10_000 {
				feeds = append(feeds, gateway.FeedInfo{ID: fmt.Sprintf("phuong-cau-go--in--%d", i), Title: "Chuyên mục", Site: "phuong-cau-go", Kind: gateway.FeedOfCategory})
			}
			return feeds, nil
		}
	})
	a := b.get("/")
	if len(a.body) > 2<<20 || !strings.Contains(a.body, "Còn 8000 nguồn tin") {
		t.Errorf("%d bytes", len(a.body))
	}
}

func TestIndexWithoutAListOfFeedsIsUnavailable(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *gateway.Options) {
		o.Feeds = func(context.Context) ([]gateway.FeedInfo, error) { return nil, errors.New("NATS is away") }
	})
	if a := b.get("/"); a.StatusCode != http.StatusServiceUnavailable || strings.Contains(a.body, "NATS") {
		t.Errorf("%s: %s", a.Status, a.body)
	}
}

func TestErrorsSpeakToWhoAsks(t *testing.T) {
	t.Parallel()
	b := start(t)
	person := b.get("/khong-co", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	person.want(t, "Content-Type", "text/html; charset=utf-8")
	if person.StatusCode != http.StatusNotFound || !strings.Contains(person.body, "Không có nội dung nào ở địa chỉ này.") {
		t.Errorf("%s: %s", person.Status, person.body)
	}
	person.want(t, "Content-Language", "vi")
	for _, query := range []string{"", "?lang=en"} {
		language := map[string]string{"": "en-GB,en;q=0.9", "?lang=en": "vi"}[query]
		english := b.get("/feeds/khong-co/feed.rss"+query, "Accept", "text/html", "Accept-Language", language)
		english.want(t, "Content-Language", "en")
		english.want(t, "Vary", "Accept, Accept-Language")
		for _, want := range []string{`<html lang="en">`, "<h1>Error 404</h1>", "There is nothing at this address."} {
			if !strings.Contains(english.body, want) {
				t.Errorf("no %s in %s", want, english.body)
			}
		}
	}
	program := b.get("/feeds/khong-co/feed.rss", "Accept", "application/rss+xml, */*;q=0.1")
	program.want(t, "Content-Type", "application/problem+json")
	program.want(t, "Cache-Control", "no-store")
	var problem struct {
		Title  string
		Status int
		Detail string
	}
	if err := json.Unmarshal([]byte(program.body), &problem); err != nil || problem.Status != 404 || problem.Title != "Not Found" || problem.Detail == "" {
		t.Errorf("%s: %v", program.body, err)
	}
}

func TestOnlyReadingIsAllowed(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putFeed("một")
	for _, path := range []string{"/", "/" + feedKey, "/media/" + hash + "/original.jpg", "/articles/a/b", "/healthz", "/metrics", "/khong-co"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, http.MethodTrace, "FOO"} {
			a := b.do(method, path)
			a.want(t, "Allow", "GET, HEAD")
			if a.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s", method, path, a.Status)
			}
		}
	}
}
