package gateway

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"
)

// The page that a browser gets at a feed's address: browsers show feeds as text, if at all. It is
// made of the feed in Atom, whichever format the address is of, once a version and language.

// Languages of the page. The first is for who wants neither.
const (
	pageVietnamese = iota
	pageEnglish
	pageLanguages
)

var (
	pageTags    = [pageLanguages]string{"vi", "en"}
	pageMatcher = language.NewMatcher([]language.Tag{language.Vietnamese, language.English})
	// pageZone is the time of Vietnam, which has known no other for fifty years.
	pageZone = time.FixedZone("Asia/Ho_Chi_Minh", 7*60*60)
)

// maxPage is the largest feed, in bytes, of which there is a page; in the hundredfold of a usual one.
const maxPage = 16 << 20

// javaAccept is how that of programs in Java begins which say nothing themselves: they read feeds,
// and show nobody a page.
const javaAccept = "text/html, image/gif, image/jpeg, *; q=.2"

// prefersPage reports whether a reader likes a page better than any feed. Feed readers that take
// pages too, to find feeds in them, like feeds as well at least.
func prefersPage(accept []string) bool {
	if len(accept) == 0 || !strings.Contains(accept[0], "text/html") || strings.HasPrefix(accept[0], javaAccept) {
		return false
	}
	page := accepted(accept, "text/html")
	for _, other := range []string{"application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml",
		"application/json", "application/xml", "text/xml", "*/*"} {
		if accepted(accept, other) >= page {
			return false
		}
	}
	return true
}

// pageLanguage is the language that a reader wants: by the address, where the page's own link
// puts it, or by what its browser says.
func pageLanguage(r *http.Request) int {
	if i := slices.Index(pageTags[:], r.URL.Query().Get("lang")); i >= 0 {
		return i
	}
	_, i := language.MatchStrings(pageMatcher, r.Header.Get("Accept-Language"))
	return i
}

// serveFeedPage answers with the page of the feed whose path was asked for.
func (g *Gateway) serveFeedPage(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path[1:]
	source := path[:strings.LastIndexByte(path, '.')] + ".atom"
	feed, _, err := g.feeds.get(r.Context(), source)
	switch {
	case errors.Is(err, errAbsent):
		g.problem(w, r, http.StatusNotFound, "There is no such feed.")
		return
	case err != nil:
		g.fail(w, r, "feed", err)
		return
	}
	v, err := g.feedPage(feed, source, pageLanguage(r))
	if err != nil {
		g.fail(w, r, "page of a feed", err)
		return
	}
	v.serve(w, r)
}

// feedPage gives the page of a version of a feed, and makes it if there is none yet.
func (g *Gateway) feedPage(feed *version, source string, lang int) (*version, error) {
	feed.pages.Lock() // so that one is made for all who wait
	defer feed.pages.Unlock()
	if v := feed.pages.made[lang].Load(); v != nil {
		return v, nil
	}
	if len(feed.plain.body) > maxPage {
		return nil, fmt.Errorf("page of %s: %d bytes are too many", source, len(feed.plain.body))
	}
	shown, err := g.shownFeed(feed.plain.body, source, lang)
	if err != nil {
		return nil, fmt.Errorf("page of %s: %w", source, err)
	}
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, "feedpage", shown); err != nil {
		return nil, fmt.Errorf("page of %s: %w", source, err)
	}
	v := newVersion(body.Bytes(), feed.modified,
		headerField{"Content-Type", []string{"text/html; charset=utf-8"}},
		headerField{"Content-Language", []string{pageTags[lang]}},
		headerField{"Cache-Control", []string{feedCaching}},
		headerField{"Content-Security-Policy", []string{g.pagePolicy}},
		headerField{"Referrer-Policy", []string{"no-referrer"}},
		headerField{"Vary", []string{"Accept, Accept-Encoding, Accept-Language"}},
	)
	v.later = g.later
	feed.pages.made[lang].Store(v)
	return v, nil
}

// feedDocument is a feed in Atom (RFC 4287), as far as the page shows it.
type feedDocument struct {
	Lang    string      `xml:"http://www.w3.org/XML/1998/namespace lang,attr"`
	Title   string      `xml:"http://www.w3.org/2005/Atom title"`
	Updated time.Time   `xml:"http://www.w3.org/2005/Atom updated"`
	Author  string      `xml:"http://www.w3.org/2005/Atom author>name"`
	Links   []feedLink  `xml:"http://www.w3.org/2005/Atom link"`
	Entries []feedEntry `xml:"http://www.w3.org/2005/Atom entry"`
}

type feedLink struct {
	Href string `xml:"href,attr"`
	Rel  string `xml:"rel,attr"`
}

type feedEntry struct {
	Lang      string    `xml:"http://www.w3.org/XML/1998/namespace lang,attr"`
	Title     string    `xml:"http://www.w3.org/2005/Atom title"`
	Links     feedLinks `xml:"http://www.w3.org/2005/Atom link"`
	Published time.Time `xml:"http://www.w3.org/2005/Atom published"`
	Updated   time.Time `xml:"http://www.w3.org/2005/Atom updated"`
	Summary   string    `xml:"http://www.w3.org/2005/Atom summary"`
	Authors   []string  `xml:"http://www.w3.org/2005/Atom author>name"`
	Labels    []struct {
		Label string `xml:"label,attr"`
		Term  string `xml:"term,attr"`
	} `xml:"http://www.w3.org/2005/Atom category"`
	Thumbnail *struct {
		URL    string `xml:"url,attr"`
		Width  int    `xml:"width,attr"`
		Height int    `xml:"height,attr"`
	} `xml:"http://search.yahoo.com/mrss/ thumbnail"`
}

type feedLinks []feedLink

// to is the address of the first link of a relation; "" if there is none.
func (l feedLinks) to(relation string) string {
	for _, one := range l {
		if one.Rel == relation || one.Rel == "" && relation == "alternate" {
			return one.Href
		}
	}
	return ""
}

// URL is where the entry is read.
func (e feedEntry) URL() string { return e.Links.to("alternate") }

// Changed is when the entry was changed, if it was since it was published.
func (e feedEntry) Changed() time.Time {
	if e.Updated.Sub(e.Published) < time.Minute {
		return time.Time{}
	}
	return e.Updated
}

// Date is when it was published, or at least last changed.
func (e feedEntry) Date() time.Time {
	if e.Published.IsZero() {
		return e.Updated
	}
	return e.Published
}

// feedPageData is what feedpage.html shows.
type feedPageData struct {
	feedDocument
	Words words
	// Language is the page's, OtherLanguage that of the link to the other one.
	Language, OtherLanguage string
	// Formats are the feed's addresses; of an archive, the one that it has.
	Formats              []link
	Canonical, Home      string
	Site                 string
	Archive              bool
	Older, Newer, Newest string // addresses of archives (RFC 5005); "" where there is none
}

func (g *Gateway) shownFeed(atom []byte, source string, lang int) (*feedPageData, error) {
	d := &feedPageData{Words: pageWords[lang], Language: pageTags[lang], OtherLanguage: pageTags[(lang+1)%pageLanguages], Home: g.o.PublicURL}
	if err := xml.Unmarshal(atom, &d.feedDocument); err != nil {
		return nil, err
	}
	links := feedLinks(d.Links)
	d.Site, d.Older, d.Newer, d.Newest = links.to("alternate"), links.to("prev-archive"), links.to("next-archive"), links.to("current")
	address := g.o.PublicURL + source
	d.Canonical = address
	if base, ok := strings.CutSuffix(address, "/feed.atom"); ok {
		for _, f := range formats {
			d.Formats = append(d.Formats, link{f.mediaType, d.Title, f.label, base + "/feed." + f.ending})
		}
		d.Canonical = d.Formats[0].URL
		return d, nil
	}
	d.Archive = true
	d.Formats = []link{{"application/atom+xml", d.Title, "Atom", address}}
	return d, nil
}

// words of the page.
type words struct {
	Skip, About, From, Subscribe, How, Formats, Latest, Archive, Updated, Published, Changed, By, Empty, Older, Newer, Newest, All, Error, Other string
}

var pageWords = [pageLanguages]words{
	pageVietnamese: {
		Skip: "Đến nội dung chính", About: "Đây là một nguồn tin: trình đọc tin theo dõi nó giúp bạn và báo khi có bài mới.",
		From: "Nguồn:", Subscribe: "Theo dõi nguồn tin này", Formats: "Địa chỉ của nguồn tin",
		How:    "Chép một địa chỉ sau vào trình đọc tin của bạn. Nội dung như nhau; nếu chưa biết chọn loại nào, hãy dùng RSS.",
		Latest: "Bài mới nhất", Archive: "Bài lưu trữ", Updated: "Cập nhật lúc", Published: "Đăng", Changed: "sửa", By: "Tác giả:",
		Empty: "Chưa có bài nào.", Older: "Bài cũ hơn", Newer: "Bài mới hơn", Newest: "Bài mới nhất", All: "Tất cả nguồn tin", Error: "Lỗi", Other: "English",
	},
	pageEnglish: {
		Skip: "Skip to the main content", About: "This is a news feed: a feed reader follows it for you, and tells you when there is something new.",
		From: "From", Subscribe: "Follow this feed", Formats: "Addresses of the feed",
		How:    "Copy one of these addresses into your feed reader. They hold the same; if you do not know which one to take, take RSS.",
		Latest: "Latest articles", Archive: "Archived articles", Updated: "Updated", Published: "Published", Changed: "changed", By: "By",
		Empty: "There are no articles yet.", Older: "Older articles", Newer: "Newer articles", Newest: "Latest articles", All: "All feeds", Error: "Error", Other: "Tiếng Việt",
	},
}

// pageFuncs are what page.html and feedpage.html call.
var pageFuncs = template.FuncMap{
	"style": func() template.CSS { return template.CSS(pageCSS) },
	"date":  func(t time.Time) string { return t.In(pageZone).Format("02/01/2006 15:04") },
	"stamp": func(t time.Time) string { return t.In(pageZone).Format(time.RFC3339) },
	"join":  func(all []string) string { return strings.Join(all, ", ") },
}

// pictureSources are the origins that pictures on a page may come from, as a content security
// policy names them.
func pictureSources(addresses ...string) string {
	sources := []string{"'self'"}
	for _, a := range addresses {
		u, err := url.Parse(a)
		if a == "" || err != nil || u.Host == "" {
			continue
		}
		if origin := u.Scheme + "://" + u.Host; !slices.Contains(sources, origin) && !strings.ContainsAny(origin, ";, ") {
			sources = append(sources, origin)
		}
	}
	return strings.Join(sources, " ")
}
