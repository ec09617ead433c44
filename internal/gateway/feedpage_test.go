package gateway_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/objects"
)

const (
	browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
	atomKey = "feeds/quan-ben-song--all/feed.atom"
	oldKey  = "feeds/quan-ben-song--all/archive/2026-10.atom"
)

// putAtom stores a feed as it is rendered, an archive of it, and an entry that means ill.
func (b *bench) putAtom() {
	b.t.Helper()
	golden, err := os.ReadFile("../../workers/feeds/testdata/feed.atom")
	if err != nil {
		b.t.Fatal(err)
	}
	const ill = `<entry xml:lang="en"><title>&lt;script&gt;alert(1)&lt;/script&gt;</title><id>x</id><published>2026-11-17T20:30:00Z</published><updated>2026-11-17T20:30:00Z</updated>` +
		`<link rel="alternate" href="javascript:alert(1)"/><summary>&lt;img src=x onerror=alert(1)&gt;</summary></entry>`
	feed := strings.Replace(string(golden), "</feed>", ill+"</feed>", 1)
	b.put(atomKey, feed, objects.Meta{ContentType: "application/atom+xml; charset=utf-8"})
	links := `<link rel="prev-archive" href="` + public + strings.Replace(oldKey, "10", "09", 1) + `"/><link rel="current" href="` + public + atomKey + `"/>`
	b.put(oldKey, strings.Replace(feed, "<entry", links+"<entry", 1), objects.Meta{})
	b.put(strings.Replace(atomKey, "atom", "rss", 1), "<rss/>", objects.Meta{})
}

func TestABrowserGetsAFeedAsAPage(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *gateway.Options) { o.MediaURL = "https://media.loa.example/" })
	b.putAtom()
	a := b.get("/"+atomKey, "Accept", browser, "Host", "evil.example")
	if a.StatusCode != http.StatusOK {
		t.Fatal(a.Status)
	}
	a.want(t, "Content-Type", "text/html; charset=utf-8")
	a.want(t, "Content-Language", "vi")
	a.want(t, "Vary", "Accept, Accept-Encoding, Accept-Language")
	a.want(t, "Content-Security-Policy", gateway.Policy+"; img-src 'self' https://media.loa.example")
	a.want(t, "Set-Cookie", "")
	doc, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		seen[n.Data]++
		for _, attr := range n.Attr {
			if strings.HasPrefix(attr.Key, "on") || attr.Key == "style" || strings.Contains(attr.Val, "javascript:") {
				t.Errorf("<%s %s=%q>", n.Data, attr.Key, attr.Val)
			}
		}
	}
	if seen["script"] != 0 || seen["article"] < 6 || seen["img"] < 4 || seen["h1"] != 1 {
		t.Errorf("elements: %v", seen)
	}
	for _, want := range []string{
		`<html lang="vi">`, "Quận Bến Sông và các đơn vị trực thuộc", public + "feeds/quan-ben-song--all/feed.rss", public + "feeds/quan-ben-song--all/feed.json",
		`<link rel="alternate" type="application/atom+xml"`, `href="?lang=en"`,
		`<time datetime="2026-11-18T03:30:00+07:00">18/11/2026 03:30</time>`, // in the time of Vietnam
		`<time datetime="2026-11-09T06:40:00+07:00">09/11/2026 06:40</time>, sửa <time datetime="2026-11-20T08:15:00+07:00">20/11/2026 08:15</time>`,
		`src="https://media.loa.example/media/9817eef7b804566c66b1f5e4a9305b8cb78fe42c5e358ddcb6a263bf6ac9b552/w320.jpg" width="320" height="240"`,
	} {
		if !strings.Contains(html.UnescapeString(a.body), want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if strings.Contains(a.body, "evil") {
		t.Error("the page has the host's name that the reader sent")
	}
	for _, path := range []string{strings.Replace(atomKey, "atom", "rss", 1), strings.Replace(atomKey, "atom", "json", 1)} {
		if other := b.get("/"+path, "Accept", browser); other.body != a.body {
			t.Errorf("%s: another page", path)
		}
	}
	// It is a document like others: with its conditions, and made once.
	if same := b.get("/"+atomKey, "Accept", browser, "If-None-Match", a.Header.Get("Etag")); same.StatusCode != http.StatusNotModified {
		t.Error(same.Status)
	}
	loatest.Eventually(t, "the page comes in Brotli", func() bool {
		coded := b.get("/"+atomKey, "Accept", browser, "Accept-Encoding", "gzip, br")
		return coded.Header.Get("Content-Encoding") == "br" && coded.plain(t) == a.body
	})
	// And it changes with the feed.
	b.put(atomKey, `<feed xmlns="http://www.w3.org/2005/Atom"><title>Trống</title><updated>2026-11-20T08:16:00+07:00</updated></feed>`, objects.Meta{})
	b.gateway.Changed("quan-ben-song--all")
	if empty := b.get("/"+atomKey, "Accept", browser); !strings.Contains(empty.body, "Chưa có bài nào.") {
		t.Errorf("%s: %s", empty.Status, empty.body)
	}
	if none := b.get("/feeds/khong-co/feed.rss", "Accept", browser); none.StatusCode != http.StatusNotFound {
		t.Error(none.Status)
	}
}

func TestFeedReadersGetTheFeed(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putAtom()
	for accept, page := range map[string]bool{
		browser: true,
		"text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01": true, // Lynx
		"text/html":  true,
		"":           false,
		"*/*":        false,
		"text/xml":   false,
		"text/*;q=1": false,
		"application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.8, */*;q=0.1":                                                                                               false,
		"application/xml, application/atom+xml, application/rss+xml, application/rdf+xml, application/feed+json, text/html, */*;q=0.9":                                                              false, // Miniflux
		"application/atom+xml, application/rss+xml, application/rdf+xml;q=0.9, application/xml;q=0.8, text/xml;q=0.8, text/html;q=0.7, unknown/unknown;q=0.1, application/unknown;q=0.1, */*;q=0.1": false, // SimplePie
		"application/feed+json, text/html;q=0.5": false,
		"*/*, text/html;q=0.5":                   false,
		"text/html, */*":                         false,
		"text/html;q=0":                          false,
		"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2": false, // Java
	} {
		a := b.get("/"+atomKey, "Accept", accept)
		if got := strings.HasPrefix(a.Header.Get("Content-Type"), "text/html"); got != page {
			t.Errorf("%q: a page is %v", accept, got)
		}
		if !page {
			a.want(t, "Vary", "Accept, Accept-Encoding, A-IM")
		}
	}
}

func TestThePageIsInTheReadersLanguage(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.putAtom()
	for _, c := range []struct{ query, accept, want string }{
		{"", "", "vi"}, {"", "vi-VN,vi;q=0.9,en;q=0.8", "vi"}, {"", "en-US,en;q=0.9", "en"}, {"", "fr, en;q=0.5", "en"}, {"", "ja", "vi"},
		{"?lang=en", "vi", "en"}, {"?lang=vi", "en", "vi"}, {"?lang=xx", "en", "en"}, {"?lang=en", strings.Repeat("x-", 5000), "en"},
	} {
		a := b.get("/"+atomKey+c.query, "Accept", browser, "Accept-Language", c.accept)
		a.want(t, "Content-Language", c.want)
		if !strings.Contains(a.body, `<html lang="`+c.want+`">`) {
			t.Errorf("%v: another language", c)
		}
	}
	a := b.get("/"+oldKey+"?lang=en", "Accept", browser)
	for _, want := range []string{"Archived articles", `href="` + public + atomKey + `?lang=en"`, `/archive/2026-09.atom?lang=en" rel="prev">Older articles`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("no %q on an archive's page", want)
		}
	}
}

// axeModule names the folder where the npm package "axe-core" is installed.
const axeModule = "LOA_TEST_AXE"

// axeScript runs axe in a page, and tells the page around it what it found.
const axeScript = `<script src="/axe.js"></script><script>
axe.run(document, {resultTypes: ["violations"]}).then(r => parent.postMessage({
	page: location.pathname, dark: matchMedia("(prefers-color-scheme: dark)").matches, passes: r.passes.length, wide: document.documentElement.scrollWidth > innerWidth,
	violations: r.violations.map(v => v.id + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; "))}, "*"))
</script>`

func TestPagesAreAccessible(t *testing.T) {
	t.Parallel()
	var chromium string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		path, _ := exec.LookPath(name)
		chromium = cmp.Or(chromium, path)
	}
	module := os.Getenv(axeModule)
	if chromium == "" || module == "" {
		t.Skipf("there is no Chromium here, or %s does not say where the npm package axe-core is", axeModule)
	}
	axe, err := os.ReadFile(filepath.Join(module, "node_modules/axe-core/axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, func(o *gateway.Options) { o.Feeds = someFeeds })
	b.putAtom()
	docs := map[string]string{}
	for name, path := range map[string]string{"vi": atomKey, "en": atomKey + "?lang=en", "old": oldKey, "index": "", "error": "khong-co"} {
		docs["/"+name] = strings.Replace(b.get("/"+path, "Accept", browser).body, "</body>", axeScript+"</body>", 1)
	}
	var frames strings.Builder
	shown := 0
	for name := range docs {
		for _, scheme := range []string{"light", "dark"} {
			fmt.Fprintf(&frames, `<iframe src="%s" width=%d height=800 style="color-scheme:%s"></iframe>`, name, []int{390, 1200}[shown%2], scheme)
			shown++
		}
	}
	all := `<!doctype html><html><pre></pre><script>onmessage = m => document.querySelector("pre").append(JSON.stringify(m.data) + "\n")</script>` + frames.String()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch doc, ok := docs[r.URL.Path]; {
		case r.URL.Path == "/axe.js":
			w.Header().Set("Content-Type", "text/javascript")
			w.Write(axe)
		case ok:
			io.WriteString(w, doc)
		default:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, all)
		}
	}))
	defer srv.Close()
	// In virtual time, what is waited for takes none.
	cmd := exec.CommandContext(t.Context(), chromium, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=20000", "--dump-dom", srv.URL)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	results := regexp.MustCompile(`(?s)<pre>(.*?)</pre>`).FindSubmatch(out)
	if results == nil {
		t.Fatalf("no results: %s", out)
	}
	schemes := map[bool]int{}
	for line := range strings.Lines(html.UnescapeString(string(results[1]))) {
		var r struct {
			Page       string
			Dark, Wide bool
			Passes     int
			Violations []string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		schemes[r.Dark]++
		if r.Passes == 0 || r.Wide {
			t.Errorf("%s: %d checks passed, wider than the screen: %v", r.Page, r.Passes, r.Wide)
		}
		for _, v := range r.Violations {
			t.Errorf("%s, dark %v: %s", r.Page, r.Dark, v)
		}
	}
	if schemes[true] != len(docs) || schemes[false] != len(docs) {
		t.Errorf("light and dark pages that were checked: %v, expected %d of each", schemes, len(docs))
	}
}
