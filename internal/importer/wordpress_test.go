package importer_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/importer"
)

// wordPress is a WordPress of a number of posts, as its REST API shows it.
func wordPress(p *portal, posts int) {
	p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.URL.RequestURI())
		p.mu.Unlock()
		q := r.URL.Query()
		reply := func(status int, v any) {
			w.Header().Set("Content-Type", "application/json; charset=UTF-8")
			w.WriteHeader(status)
			if err := json.NewEncoder(w).Encode(v); err != nil {
				panic(err)
			}
		}
		switch r.URL.Path {
		case "/wp-json/":
			reply(200, map[string]any{"name": "Phường Cầu Gỗ", "timezone_string": "Asia/Ho_Chi_Minh", "gmt_offset": 7})
		case "/wp-json/wp/v2/posts":
			page, _ := strconv.Atoi(q.Get("page"))
			per, _ := strconv.Atoi(q.Get("per_page"))
			if (page-1)*per >= posts {
				reply(400, map[string]any{"code": "rest_post_invalid_page_number"})
				return
			}
			var list []map[string]any
			for n := (page-1)*per + 1; n <= min(page*per, posts); n++ {
				list = append(list, post(p.URL, n))
			}
			w.Header().Set("X-WP-TotalPages", strconv.Itoa((posts+per-1)/per))
			reply(200, list)
		default:
			http.NotFound(w, r)
		}
	})
}

func post(base string, n int) map[string]any {
	text := func(s string) map[string]any { return map[string]any{"rendered": s, "protected": n == 3} }
	media := any([]any{map[string]any{"source_url": fmt.Sprintf("%s/wp-content/%d.jpg", base, n), "alt_text": "Trạm y tế", "mime_type": "image/jpeg", "caption": text("<p>Ảnh: Minh</p>")}})
	if n == 2 { // its picture was deleted
		media = []any{map[string]any{"code": "rest_post_invalid_id", "data": map[string]any{"status": 404}}}
	}
	return map[string]any{
		"id": n, "guid": text(fmt.Sprintf("%s/?p=%d&#038;x", base, n)), "link": fmt.Sprintf("%s/tin/%d/", base, n),
		"title": text("Tin &#8211; <em>số</em> " + strconv.Itoa(n)), "content": text("<p>Nội dung tin.</p>"), "excerpt": text("<p>Nội dung [&hellip;]</p>\n"),
		"date": "2026-10-05T09:30:00", "date_gmt": "2026-10-05T02:30:00", "modified": "2026-10-06T09:30:00", "modified_gmt": "2026-10-06T02:30:00",
		"_embedded": map[string]any{"author": []any{map[string]any{"name": "Lan"}}, "wp:featuredmedia": media,
			"wp:term": []any{[]any{map[string]any{"name": "Y tế", "taxonomy": "category"}}, []any{map[string]any{"name": "tiêm chủng", "taxonomy": "post_tag"}}}},
	}
}

func TestAWordPressSiteIsImported(t *testing.T) {
	t.Parallel()
	b, p := open(t), newPortal(t)
	wordPress(p, 120)
	site := &importer.WordPress{Fetcher: importer.HurriedFetcher(), URL: p.URL, Site: ward}
	out := b.run(p.URL, site.Items(t.Context()))
	if out.err != nil || out.counts != "119 imported, 1 set aside" {
		t.Fatalf("%s, %v", out.counts, out.err)
	}
	if r := out.results[p.URL+"/?p=3&x"]; !strings.Contains(r.Reason, "password") {
		t.Errorf("a post behind a password: %+v", r)
	}
	a := b.last(p.URL + "/?p=120&x").Article
	if a.Title != "Tin – số 120" || a.Published.Format(time.RFC3339) != "2026-10-05T09:30:00+07:00" || a.Updated == nil || a.Updated.Day() != 6 || a.Summary != "" ||
		fmt.Sprint(a.Categories, a.Tags, a.Authors) != "[{y-te Y tế}] [tiêm chủng] [{Lan  }]" || len(a.Images) != 1 || a.Images[0].Alt != "Trạm y tế" || a.Images[0].Caption != "Ảnh: Minh" {
		t.Errorf("%+v", a)
	}
	if a := b.last(p.URL + "/?p=2&x").Article; len(a.Images) != 0 {
		t.Errorf("a picture that is gone: %+v", a.Images)
	}
	if out := b.run(p.URL, site.Items(t.Context())); out.counts != "119 unchanged, 1 set aside" {
		t.Errorf("again: %s, %v", out.counts, out.err)
	}

	none := newPortal(t)
	site.URL = none.URL
	for _, err := range site.Items(t.Context()) {
		if err == nil || !strings.Contains(err.Error(), "loa import feed") {
			t.Errorf("no WordPress: %v", err)
		}
	}
}
