package api_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/loa-syndication/loa/internal/api"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
)

// partnerPage is somebody else's page: %[1]s is the address of the API.
const partnerPage = `<!doctype html><html lang="vi"><meta charset="utf-8"><pre></pre>
<script nonce="x">document.cookie = "session=1"; let shift = 0, loaded = 0, expected = 3;
new PerformanceObserver(l => l.getEntries().forEach(e => shift += e.value)).observe({type: "layout-shift", buffered: true});
addEventListener("loa-loaded", () => { if (++loaded === expected) setTimeout(() => {
	const [one, two, three] = [...document.querySelectorAll(".loa-headlines")].map(e => e.shadowRoot);
	document.querySelector("pre").textContent = JSON.stringify({shift,
		heading: one.querySelector("h2 a").href, titles: [...one.querySelectorAll("li a")].map(a => a.textContent), links: [...one.querySelectorAll("li a")].map(a => a.getAttribute("href")),
		dates: [...one.querySelectorAll("time")].map(t => t.textContent), images: one.querySelectorAll("img").length, scripts: one.querySelectorAll("b, script").length,
		styled: getComputedStyle(one.querySelector("ol")).listStyleType, colour: getComputedStyle(one.querySelector("li a")).color, height: one.host.offsetHeight,
		two: two.querySelectorAll("li").length, twoTimes: two.querySelectorAll("time").length,
		fallback: three.querySelector("slot").assignedElements().map(e => e.textContent).join()})}, 300)});
</script>
<div class="loa-headlines" data-feed="tin" data-images="yes" style="display:block;block-size:200px;overflow:auto;--loa-link:rgb(1, 2, 3)"><a href="https://an.example/">Tin</a></div><script async src="%[1]s/embed.js"></script>
<p>Sau đó.</p>
<div class="loa-headlines" data-feed="tin" data-limit="1" data-dates="no" style="display:block;block-size:80px;overflow:auto"><a href="https://an.example/">Tin</a></div><script async src="%[1]s/embed.js"></script>
<div class="loa-headlines" data-feed="khong-co" style="display:block;block-size:80px;overflow:auto"><a href="https://an.example/">Tin An Hòa</a></div>
<p>Hết.</p>`

func TestHeadlinesOnAnotherPage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	t.Parallel()
	b := start(t, nil)
	var cookies atomic.Int32
	loa := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/feeds/tin/feed.json":
			cookies.Add(int32(len(r.Header["Cookie"]))) // the page has one, of the same host
			w.Header().Set("Access-Control-Allow-Origin", "*")
			io.WriteString(w, `{"title":"Phường Cầu Gỗ","home_page_url":"https://caugo.example/","language":"vi","items":[
				{"title":"Cắt nước <b>ngày 12/11</b>","url":"https://caugo.example/1","date_published":"2026-11-20T00:30:00+07:00","image":"/media/1.jpg"},
				{"title":"Đã gỡ","url":"https://caugo.example/2","_loa":{"withdrawn":{"reason":"x"}}},
				{"title":"Lừa","url":"javascript:alert(1)","date_published":"2026-11-19T08:00:00+07:00"}]}`)
		case "/embed.js":
			a := b.get("", "/embed.js")
			if a.header.Get("Set-Cookie") != "" || a.header.Get("Content-Type") != "text/javascript; charset=utf-8" {
				t.Errorf("%v", a.header)
			}
			w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
			w.Write(a.body)
		default:
			http.NotFound(w, r)
		}
	}))
	defer loa.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-x' "+loa.URL+"; connect-src "+loa.URL+"; img-src "+loa.URL+
			"; style-src-elem 'none'; style-src-attr 'unsafe-inline'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, partnerPage, loa.URL)
	}))
	defer page.Close()
	found := regexp.MustCompile(`<pre>(.+?)</pre>`).FindStringSubmatch(loatest.DOM(t, page.URL))
	if found == nil {
		t.Fatal("the page did not load its headlines")
	}
	var got struct {
		Shift                   float64
		Heading                 string
		Titles, Dates           []string
		Links                   []*string
		Images, Scripts, Height int
		Styled, Colour          string
		Two, TwoTimes           int
		Fallback                string
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(found[1])), &got); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got.Titles, "|") != "Cắt nước <b>ngày 12/11</b>|Lừa" || got.Scripts != 0 || *got.Links[0] != "https://caugo.example/1" || got.Links[1] != nil ||
		strings.Join(got.Dates, " ") != "20/11/2026 19/11/2026" || got.Images != 1 || got.Heading != "https://caugo.example/" {
		t.Errorf("%+v", got)
	}
	if got.Shift != 0 || got.Height != 200 || got.Styled != "none" || got.Colour != "rgb(1, 2, 3)" {
		t.Errorf("layout shift %v, height %d, list style %s, colour %s", got.Shift, got.Height, got.Styled, got.Colour)
	}
	if got.Two != 1 || got.TwoTimes != 0 || got.Fallback != "Tin An Hòa" || cookies.Load() != 0 {
		t.Errorf("%+v, %d cookies", got, cookies.Load())
	}
}

func TestArticlesAreEmbedded(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.put(an("phuong", "tin-1", func(a *article.Article) {
		a.Title = `Lịch "cắt" nước <b>`
		a.Images[1].Renditions = append(a.Images[1].Renditions, a.Images[1].Original, a.Images[1].Original)
		for i, width := range []int{320, 640} {
			a.Images[1].Renditions[i].Width, a.Images[1].Renditions[i].Height = width, width*9/16
		}
	}))
	b.put(an("phuong", "da-go", withdraw))
	loatest.Eventually(t, "the last article to be known", func() bool { return b.get(b.whole, "/v1/articles/phuong/da-go").status == 410 })
	ask := func(address, more string) answer { return b.get("", "/oembed?url="+url.QueryEscape(address)+more) }

	found := regexp.MustCompile(`<([^>]+)>; rel="alternate"; type="application/json\+oembed"`).FindStringSubmatch(b.get(b.whole, "/v1/articles/phuong/tin-1").header.Get("Link"))
	if found == nil {
		t.Fatal("an article does not lead to its oEmbed")
	}
	var got struct {
		Version, Type, Title, HTML string
		Provider                   string `json:"provider_name"`
		Thumbnail                  int    `json:"thumbnail_width"`
		Width                      int
	}
	for _, address := range []string{found[1], b.url + "/oembed?url=" + url.QueryEscape("http://phuong.example/tin-1/"),
		b.url + "/oembed?url=" + url.QueryEscape(b.url+"/v1/articles/phuong/tin-1"), b.url + "/oembed?url=" + url.QueryEscape(b.url+"/articles/phuong/tin-1")} {
		b.get("", strings.TrimPrefix(address, b.url)).into(t, 200, &got)
		if got.Version != "1.0" || got.Type != "rich" || got.Title != `Lịch "cắt" nước <b>` || got.Provider != "Phường Cầu Gỗ" || got.Thumbnail != 320 || got.Width != 600 ||
			!strings.Contains(got.HTML, `<a href="https://phuong.example/tin-1">Lịch &#34;cắt&#34; nước &lt;b&gt;</a>`) {
			t.Errorf("%s: %+v", address, got)
		}
	}
	ask("https://phuong.example/tin-1", "&maxwidth=300").into(t, 200, &got)
	if got.Width != 300 {
		t.Errorf("width %d", got.Width)
	}
	var x struct {
		XMLName xml.Name `xml:"oembed"`
		Title   string   `xml:"title"`
	}
	if a := ask("https://phuong.example/tin-1", "&format=xml"); xml.Unmarshal(a.body, &x) != nil || x.Title != `Lịch "cắt" nước <b>` || a.header.Get("Content-Type") != "text/xml; charset=utf-8" {
		t.Errorf("%v: %s", a.header, a.body)
	}
	ask("https://phuong.example/tin-1", "&format=yaml").refused(t, 501, "query.format")
	ask("https://phuong.example/tin-1", "&maxwidth=x").refused(t, 400, "query.maxwidth")
	ask("https://phuong.example/khong-co", "").refused(t, 404, "query.url")
	ask("https://phuong.example/da-go", "").refused(t, 410, "")
	ask("", "").refused(t, 400, "query.url")
}

func TestTheAPIIsDescribed(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *api.Options) { o.Public = api.PublicNone }) // which needs no key
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ Responses map[string]any }
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Description string }
				Required   []string
			}
		}
	}
	b.get("", "/v1/openapi.json").into(t, 200, &doc)
	if doc.OpenAPI != "3.1.0" || len(doc.Paths) != 7 || doc.Paths["/v1/articles/{site}/{id}"]["get"].Responses["410"] == nil ||
		doc.Components.Schemas["Public"].Properties["title"].Description == "" || len(doc.Components.Schemas["Public"].Required) > 0 {
		t.Errorf("%+v", doc)
	}
	if a := b.get("", "/v1/openapi.yaml"); a.status != 200 || !strings.Contains(string(a.body), "openapi: 3.1.0") {
		t.Errorf("%d %.200s", a.status, a.body)
	}
	for header, want := range map[string]string{"vi": `<html lang="vi">`, "en-GB,en;q=0.9": `<html lang="en">`, "fr": `<html lang="vi">`} {
		a := b.get("", "/v1/", "Accept-Language", header)
		policy := a.header.Get("Content-Security-Policy")
		if a.status != 200 || !strings.Contains(string(a.body), want) || strings.Contains(string(a.body), "<script") && !strings.Contains(string(a.body), "&lt;script") ||
			!strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "script") {
			t.Errorf("%s: %d %s", header, a.status, policy)
		}
	}
	if a := b.get("", "/v1/?lang=en", "Accept-Language", "vi"); !strings.Contains(string(a.body), "Getting started") || !strings.Contains(string(a.body), "Every change and withdrawal, in order") {
		t.Errorf("%.500s", a.body)
	}
	if a := b.get("", "/v1"); a.status != http.StatusPermanentRedirect {
		t.Error(a.status)
	}
}
