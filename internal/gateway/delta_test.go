package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mmcdole/gofeed"

	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/objects"
)

// formatsOfDeltas write a feed of entries, each "<id> <text>", or "-<id>" for a tombstone.
var formatsOfDeltas = map[string]func(entries ...string) string{
	"rss": func(entries ...string) string {
		return "<?xml version=\"1.0\"?>\n<rss version=\"2.0\"><channel><title>Phường &amp; xã</title><link>https://x.example/</link>\n" +
			each(entries, "\n", func(id, text string) string {
				return "    <item><guid isPermaLink=\"false\">" + id + "</guid><title>" + text + "</title><description><![CDATA[<item>" + filler + "]]></description></item>"
			}) + "\n</channel></rss>\n"
	},
	"atom": func(entries ...string) string {
		return "<?xml version=\"1.0\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\" xmlns:at=\"http://purl.org/atompub/tombstones/1.0\"><title>Phường</title>\n" +
			each(entries, "\n  ", func(id, text string) string {
				if gone, ok := strings.CutPrefix(id, "-"); ok {
					return "<at:deleted-entry ref=\"" + gone + "\" when=\"2026-11-26T00:00:00Z\"/>"
				}
				return "<entry><id>" + id + "</id><title>" + text + "</title><content type=\"xhtml\"><div><entry/>" + filler + "</div></content></entry>"
			}) + "</feed>"
	},
	"json": func(entries ...string) string {
		return `{"version":"https://jsonfeed.org/version/1.1","title":"Phường","_loa":{"items":["x"]},"items":[` +
			each(entries, ",\n", func(id, text string) string {
				return fmt.Sprintf(`{"id":%q,"title":%q,"content_html":"]},{\" %s"}`, id, text, filler)
			}) + "]}\n"
	},
}

// filler makes entries so long that a delta of one is less than the whole in gzip.
const filler = "Ủy ban nhân dân phường Cầu Gỗ thông báo lịch tiêm chủng mở rộng"

func each(entries []string, between string, write func(id, text string) string) string {
	var all []string
	for _, e := range entries {
		id, text, _ := strings.Cut(e, " ")
		all = append(all, write(id, text))
	}
	return strings.Join(all, between)
}

// titles of a feed, as a reader finds them.
func titles(t *testing.T, body string) (all []string) {
	t.Helper()
	f, err := gofeed.NewParser().ParseString(body)
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, item := range f.Items {
		all = append(all, item.GUID+" "+item.Title)
	}
	return all
}

func TestWhoHasAFormerVersionGetsWhatIsNewer(t *testing.T) {
	t.Parallel()
	b := start(t)
	for format, write := range formatsOfDeltas {
		t.Run(format, func(t *testing.T) {
			path := "/feeds/phuong-cau-go/feed." + format
			store := func(entries ...string) answer {
				b.put(path[1:], write(entries...), objects.Meta{})
				b.gateway.Changed("phuong-cau-go")
				return b.get(path, "A-IM", "feed")
			}
			delta := func(since answer, want ...string) answer {
				t.Helper()
				a := b.get(path, "A-IM", "feed", "If-None-Match", since.Header.Get("Etag"))
				if a.StatusCode != http.StatusIMUsed || !slices.Equal(titles(t, a.body), want) {
					t.Fatalf("%s: %s", a.Status, a.body)
				}
				return a
			}
			first := store("a một", "b hai", "c ba", "d bốn")
			if first.StatusCode != http.StatusOK {
				t.Fatal(first.Status)
			}
			second := store("e năm", "a một", "b hai, sửa", "c ba")
			got := delta(first, "e năm", "b hai, sửa")
			got.want(t, "IM", "feed")
			got.want(t, "Etag", second.Header.Get("Etag"))
			got.want(t, "Delta-Base", first.Header.Get("Etag"))
			got.want(t, "Cache-Control", "no-store, im")
			got.want(t, "Vary", "Accept, Accept-Encoding, A-IM, If-None-Match")
			got.want(t, "Content-Type", second.Header.Get("Content-Type"))
			third := store("e năm", "a một", "b hai, sửa", "g bảy")
			delta(first, "e năm", "b hai, sửa", "g bảy")
			delta(second, "g bảy")
			if head := b.do(http.MethodHead, path, "A-IM", "feed", "If-None-Match", second.Header.Get("Etag")); head.StatusCode != http.StatusIMUsed || head.body != "" {
				t.Errorf("HEAD: %s", head.Status)
			}
			for name, c := range map[string]struct {
				headers []string
				want    int
			}{
				"up to date":           {[]string{"A-IM", "feed", "If-None-Match", third.Header.Get("Etag")}, http.StatusNotModified},
				"up to date as well":   {[]string{"A-IM", "feed", "If-None-Match", first.Header.Get("Etag") + ", " + third.Header.Get("Etag")}, http.StatusNotModified},
				"two former ones":      {[]string{"A-IM", "feed", "If-None-Match", first.Header.Get("Etag") + `, "x", W/` + second.Header.Get("Etag")}, http.StatusIMUsed},
				"others too":           {[]string{"A-IM", "vcdiff;q=0.5, feed", "If-None-Match", first.Header.Get("Etag")}, http.StatusIMUsed},
				"not wanted":           {[]string{"A-IM", "feed;q=0", "If-None-Match", first.Header.Get("Etag")}, http.StatusOK},
				"another manipulation": {[]string{"A-IM", "vcdiff", "If-None-Match", first.Header.Get("Etag")}, http.StatusOK},
				"none":                 {[]string{"If-None-Match", first.Header.Get("Etag")}, http.StatusOK},
				"an unknown version":   {[]string{"A-IM", "feed", "If-None-Match", `"unknown"`}, http.StatusOK},
				"no version":           {[]string{"A-IM", "feed"}, http.StatusOK},
				"another condition":    {[]string{"A-IM", "feed", "If-None-Match", first.Header.Get("Etag"), "If-Match", `"x"`}, http.StatusPreconditionFailed},
			} {
				if a := b.get(path, c.headers...); a.StatusCode != c.want {
					t.Errorf("%s: %s, expected %d", name, a.Status, c.want)
				}
			}
			// Nothing new: entries have only gone. Who thinks that they are there has to get the whole.
			store("e năm", "a một")
			if a := b.get(path, "A-IM", "feed", "If-None-Match", third.Header.Get("Etag")); a.StatusCode != http.StatusOK {
				t.Error(a.Status)
			}
			store("a một", "b hai", "c ba", "d bốn", "k mười")
			delta(third, "b hai", "c ba", "d bốn", "k mười") // as they are again
		})
	}
}

func TestTombstonesAreInDeltas(t *testing.T) {
	t.Parallel()
	b := start(t)
	write := formatsOfDeltas["atom"]
	const path = "/feeds/phuong-cau-go/feed.atom"
	b.put(path[1:], write("a một", "b hai", "c ba", "d bốn", "e năm", "f sáu"), objects.Meta{})
	first := b.get(path, "A-IM", "feed", "Accept-Encoding", "gzip")
	b.put(path[1:], write("a một", "-b", "c ba", "d bốn", "e năm", "f sáu"), objects.Meta{})
	b.gateway.Changed("phuong-cau-go")
	a := b.get(path, "A-IM", "feed", "Accept-Encoding", "gzip", "If-None-Match", first.Header.Get("Etag"))
	if a.StatusCode != http.StatusIMUsed || !strings.Contains(a.body, `<at:deleted-entry ref="b"`) || strings.Contains(a.body, "<id>") {
		t.Errorf("%s: %s", a.Status, a.body)
	}
	// Its tag is that of what the reader would have got, so that the next answer is 304.
	if a := b.get(path, "A-IM", "feed", "Accept-Encoding", "gzip", "If-None-Match", a.Header.Get("Etag")); a.StatusCode != http.StatusNotModified {
		t.Error(a.Status)
	}
}

func TestADeltaLargerThanTheWholeIsNotSent(t *testing.T) {
	t.Parallel()
	b := start(t)
	write := formatsOfDeltas["json"]
	const path = "/feeds/phuong-cau-go/feed.json"
	var former, now []string
	for i := range 40 {
		former, now = append(former, fmt.Sprint(i, " tin")), append(now, fmt.Sprint(i, " tin mới"))
	}
	b.put(path[1:], write(former...), objects.Meta{})
	first := b.get(path, "A-IM", "feed", "Accept-Encoding", "gzip")
	b.put(path[1:], write(append(now[:20], former[20:]...)...), objects.Meta{})
	b.gateway.Changed("phuong-cau-go")
	ask := []string{"A-IM", "feed", "If-None-Match", first.Header.Get("Etag")}
	if a := b.get(path, append(ask, "Accept-Encoding", "gzip")...); a.StatusCode != http.StatusOK || a.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("compressed: %s", a.Status)
	}
	if a := b.get(path, ask...); a.StatusCode != http.StatusIMUsed {
		t.Errorf("plain: %s", a.Status)
	}
}

func TestFormerVersionsAreForgottenInTime(t *testing.T) {
	t.Parallel()
	b := start(t)
	const path = "/feeds/phuong-cau-go/feed.json"
	b.put(path[1:], formatsOfDeltas["json"]("a một", "b hai"), objects.Meta{})
	b.get(path)
	if n := b.gateway.Former(path[1:]); n != 0 {
		t.Errorf("%d former versions are known of a feed of which nobody wants deltas", n)
	}
	b.get(path, "A-IM", "feed")
	for i := range 3 * gateway.MaxFormer / 2 {
		b.gateway.Follow(path[1:], formatsOfDeltas["json"]("a một", fmt.Sprint("b ", i)))
	}
	if n := b.gateway.Former(path[1:]); n != gateway.MaxFormer {
		t.Errorf("%d former versions are known, expected %d", n, gateway.MaxFormer)
	}
}
