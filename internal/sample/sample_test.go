package sample_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/text/unicode/norm"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/frontmatter"
	"github.com/loa-syndication/loa/internal/sample"
)

const cms = "https://cms.anhoa.example"

func TestSitesFormATree(t *testing.T) {
	known := map[string]bool{"": true}
	for _, site := range sample.Sites() {
		if !known[site.Parent] || known[site.ID] {
			t.Errorf("%s comes before its parent %q, or twice", site.ID, site.Parent)
		}
		known[site.ID] = true
	}
}

func TestArticlesKeepTheContract(t *testing.T) {
	articles := sample.Articles("http://127.0.0.1:8090/")
	ids := map[string]bool{}
	sites := map[string]int{}
	for _, a := range articles {
		mustParse(t, events.NewPublished(cms, a))
		checkText(t, a)
		if key := a.Site + " " + a.ID; ids[key] {
			t.Errorf("%s: published twice", key)
		} else {
			ids[key] = true
		}
		sites[a.Site]++
		if !strings.HasPrefix(a.URL, siteURL(t, a.Site)) {
			t.Errorf("%s: url %s is not of its site", a.ID, a.URL)
		}
		if age := sample.Base.Sub(a.Published); age <= 0 || age > 40*24*time.Hour {
			t.Errorf("%s: published %v, which is not within the weeks before %v", a.ID, a.Published, sample.Base)
		}
		for _, img := range a.Images {
			if img.Data != nil {
				continue
			}
			name, ok := strings.CutPrefix(img.URL, "http://127.0.0.1:8090"+sample.PicturePath)
			if !ok || !slices.ContainsFunc(sample.Pictures(), func(p sample.Picture) bool { return p.Name == name }) {
				t.Errorf("%s: image %s is not one of the pictures", a.ID, img.URL)
			}
			if img.Alt == "" || img.Credit == "" {
				t.Errorf("%s: image %s has no alternative text or no credit", a.ID, img.URL)
			}
		}
	}
	if len(articles) < 12 || len(sites) != len(sample.Sites()) {
		t.Errorf("%d articles on %v, want a dozen or more on every site", len(articles), sites)
	}
}

// TestArticlesShowEveryFeature guards what the demo and other packages' tests count on.
func TestArticlesShowEveryFeature(t *testing.T) {
	has := map[string]bool{}
	for _, a := range sample.Articles("") {
		has["no summary"] = has["no summary"] || a.Summary == ""
		has["urgent"] = has["urgent"] || a.Urgency == 2
		has["attachment"] = has["attachment"] || len(a.Attachments) > 0
		has["no images"] = has["no images"] || len(a.Images) == 0
		has["table"] = has["table"] || strings.Contains(a.Body, "<table>")
		has["list"] = has["list"] || strings.Contains(a.Body, "<ul>")
		has["figure"] = has["figure"] || strings.Contains(a.Body, "<figcaption>")
		has["relative link"] = has["relative link"] || strings.Contains(a.Body, `href="/`)
		has["number"] = has["number"] || a.Summary == "" && strings.Contains(a.Body, "TP. An Hòa đạt 81.033,18 tỷ đồng")
		for _, img := range a.Images {
			has["role "+img.Role] = true
			switch {
			case img.Data != nil:
				has["inline data"] = has["inline data"] || strings.Contains(a.Body, `src="cid:`+img.ContentID+`"`)
			case img.Role == events.RoleInline:
				has["inline"] = has["inline"] || strings.Contains(a.Body, `src="`+img.URL+`"`)
			}
		}
	}
	for _, feature := range []string{"no summary", "urgent", "attachment", "no images", "table", "list", "figure",
		"relative link", "number", "inline data", "inline", "role lead", "role inline", "role gallery"} {
		if !has[feature] {
			t.Errorf("no article has: %s", feature)
		}
	}
}

func TestArticlesAreFresh(t *testing.T) {
	first := sample.Articles("http://a.example")
	first[0].Tags[0] = "changed"
	first[0].Images = nil
	if again := sample.Articles("http://a.example"); again[0].Tags[0] == "changed" || again[0].Images == nil {
		t.Error("a caller's change shows in the next call's articles")
	}
	if !reflect.DeepEqual(sample.Articles("http://a.example"), sample.Articles("http://a.example")) {
		t.Error("two calls differ")
	}
}

func TestLaterEventsFollowArticles(t *testing.T) {
	first := map[string]events.Article{}
	for _, a := range sample.Articles("") {
		first[a.Site+" "+a.ID] = a
	}
	for _, a := range []events.Article{sample.Updated(""), sample.Corrected("")} {
		mustParse(t, events.NewPublished(cms, a))
		checkText(t, a)
		before, ok := first[a.Site+" "+a.ID]
		if !ok || a.Version != before.Version+1 || a.URL != before.URL || !a.Published.Equal(before.Published) {
			t.Errorf("%s version %d does not follow %+v", a.ID, a.Version, before)
		}
		if a.Updated == nil || a.Updated.After(sample.Base) || a.Body == before.Body {
			t.Errorf("%s: updated %v, body changed: %v", a.ID, a.Updated, a.Body != before.Body)
		}
	}
	if sample.Corrected("").Correction == "" {
		t.Error("the correction has no note")
	}
	w := sample.Withdrawn()
	mustParse(t, events.NewWithdrawn(cms, w))
	if before, ok := first[w.Site+" "+w.ID]; !ok || w.Version != before.Version+1 || !norm.NFC.IsNormalString(w.Reason) {
		t.Errorf("%+v does not follow %+v", w, before)
	}
}

// TestArticleFilesCanBePublished reads them as `loa publish` does: pictures from a folder.
func TestArticleFilesCanBePublished(t *testing.T) {
	entries, err := fs.ReadDir(sample.ArticleFiles(), ".")
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, entry := range entries {
		data, err := fs.ReadFile(sample.ArticleFiles(), entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		a, local, err := frontmatter.Parse(entry.Name(), data)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := frontmatter.Embed(&a, local, sample.Files()); err != nil {
			t.Errorf("%s: %v", entry.Name(), err)
		}
		mustParse(t, events.NewPublished(cms, a))
	}
}

func TestManyGivesDistinctArticles(t *testing.T) {
	const n = 2000
	ids, titles, bodies := map[string]bool{}, map[string]bool{}, map[string]bool{}
	var last events.Article
	i := 0
	for a := range sample.Many(n) {
		if len(a.Body) < 3000 || len(a.Body) > 4096 {
			t.Errorf("%s: body of %d bytes, want 3 to 4 KB", a.ID, len(a.Body))
		}
		if i%100 == 0 {
			mustParse(t, events.NewPublished(cms, a))
			checkText(t, a)
		}
		if !a.Published.After(last.Published) || a.Published.After(sample.Base) {
			t.Errorf("%s: published %v, after %v", a.ID, a.Published, last.Published)
		}
		ids[a.ID], titles[a.Title], bodies[a.Body] = true, true, true
		last = a
		i++
	}
	if len(ids) != n || len(titles) != n || len(bodies) != n {
		t.Errorf("%d ids, %d titles, %d bodies, want %d of each", len(ids), len(titles), len(bodies), n)
	}
	for a := range sample.Many(1) {
		for b := range sample.Many(1) {
			if !reflect.DeepEqual(a, b) {
				t.Error("two calls differ")
			}
		}
	}
}

func BenchmarkMany(b *testing.B) {
	b.ReportAllocs()
	for range sample.Many(b.N) {
	}
}

// mustParse sends an event through its JSON and the contract's checks.
func mustParse(t *testing.T, e events.Event) {
	t.Helper()
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Parse(nil, data); err != nil {
		t.Errorf("%s: %v", e.Subject, err)
	}
}

// checkText looks at what no schema says: composed Unicode, balanced HTML, links that parse.
func checkText(t *testing.T, a events.Article) {
	t.Helper()
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if !norm.NFC.IsNormal(data) {
		t.Errorf("%s: text is not in NFC", a.ID)
	}
	nodes, err := html.ParseFragment(strings.NewReader(a.Body), nil)
	if err != nil || len(nodes) == 0 {
		t.Fatalf("%s: body has %d nodes, %v", a.ID, len(nodes), err)
	}
	open := 0
	for z := html.NewTokenizer(strings.NewReader(a.Body)); z.Next() != html.ErrorToken; {
		switch token := z.Token(); {
		case token.Type == html.StartTagToken && token.Data != "img" && token.Data != "br":
			open++
		case token.Type == html.EndTagToken:
			open--
		default:
			continue
		}
	}
	if open != 0 {
		t.Errorf("%s: %d elements stay open", a.ID, open)
	}
	if n := strings.Count(a.Body, "<p>"); n < 2 {
		t.Errorf("%s: %d paragraphs", a.ID, n)
	}
	if bytes.Contains(data, []byte("\ufffd")) {
		t.Errorf("%s: has a replacement character", a.ID)
	}
	if u, err := url.Parse(a.URL); err != nil || !u.IsAbs() {
		t.Errorf("%s: url %q", a.ID, a.URL)
	}
}

func siteURL(t *testing.T, id string) string {
	for _, site := range sample.Sites() {
		if site.ID == id {
			return site.URL
		}
	}
	t.Errorf("no site %q", id)
	return ""
}
