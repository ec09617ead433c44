package gateway_test

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"testing"

	"github.com/loa-syndication/loa/internal/gateway"
)

// outline is one of an OPML 2.0 document, as a reader takes it.
type outline struct {
	Text string    `xml:"text,attr"`
	Type string    `xml:"type,attr"`
	XML  string    `xml:"xmlUrl,attr"`
	HTML string    `xml:"htmlUrl,attr"`
	In   []outline `xml:"outline"`
}

func TestOPMLListsAllFeedsOfASite(t *testing.T) {
	t.Parallel()
	fail := false
	b := start(t, func(o *gateway.Options) {
		o.Feeds = func(ctx context.Context) ([]gateway.FeedInfo, error) {
			if fail {
				return nil, errors.New("away")
			}
			all, err := someFeeds(ctx)
			return append(all, gateway.FeedInfo{ID: "cap-nuoc", Title: "Tin cấp nước & điện", Site: "phuong-cau-go", Kind: "custom"}), err
		}
	})
	a := b.get("/opml/phuong-cau-go.opml")
	if a.StatusCode != http.StatusOK {
		t.Fatal(a.Status)
	}
	a.want(t, "Content-Type", "text/x-opml; charset=utf-8")
	var doc struct {
		XMLName xml.Name  `xml:"opml"`
		Version string    `xml:"version,attr"`
		Title   string    `xml:"head>title"`
		Body    []outline `xml:"body>outline"`
	}
	if err := xml.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatal(err)
	}
	const site = "https://caugo.anhoa.example/"
	want := []outline{
		{Text: "Tin cấp nước & điện", XML: public + "feeds/cap-nuoc/feed.rss"},
		{Text: "Phường Cầu Gỗ", XML: public + "feeds/phuong-cau-go/feed.rss"},
		{Text: `Y tế <script>alert("1")</script>`, XML: public + "feeds/phuong-cau-go--in--y-te/feed.rss"},
	}
	if doc.Version != "2.0" || doc.Title != "Nguồn tin: Phường Cầu Gỗ <1>" || len(doc.Body) != 1 || doc.Body[0].Text != "Phường Cầu Gỗ <1>" || len(doc.Body[0].In) != len(want) {
		t.Fatalf("OPML %+v", doc)
	}
	for i, got := range doc.Body[0].In {
		if got.Text != want[i].Text || got.XML != want[i].XML || got.HTML != site || got.Type != "rss" {
			t.Errorf("outline %d is %+v, want %+v", i, got, want[i])
		}
	}

	fail = true
	if again := b.get("/opml/phuong-cau-go.opml", "If-None-Match", a.Header.Get("Etag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("again: %s", again.Status)
	}
	if empty := b.get("/opml/thanh-pho.opml"); empty.StatusCode != http.StatusOK {
		t.Errorf("another site: %s", empty.Status)
	}
	for _, path := range []string{"/opml/khong-co.opml", "/opml/", "/opml/phuong-cau-go", "/opml/../feeds.opml", "/opml/A.opml"} {
		if a := b.get(path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
}
