package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

// sample is an article with one picture that is stored, and one that is not.
func sample(id string) *article.Article {
	at := time.Date(2026, time.November, 20, 8, 0, 0, 0, time.FixedZone("", 7*60*60))
	return &article.Article{
		GUID: article.NewGUID("phuong-cau-go", id), Site: "phuong-cau-go", ID: id,
		Version: article.Version{Number: 7, Revision: 1}, Status: events.StatusLive, Digests: []string{"digest-nội-bộ"},
		URL: "https://caugo.anhoa.example/tin/tiêm-chủng", Title: "Lịch tiêm chủng tháng 12", Language: "vi", Urgency: 5,
		Body:      `<p><img src="loa-media:media/` + hash + `/w640.webp" alt=""></p>`,
		Published: at, Updated: at, Accepted: at, Ever: article.Selections{Tags: []string{"cũ"}},
		Images: []article.Image{
			{Image: events.Image{URL: "http://10.0.0.7/noi-bo.jpg", Role: events.RoleLead, Alt: "Trạm y tế"}, SHA256: hash,
				Original: events.Rendition{URL: "media/" + hash + "/original.jpg", Width: 1600, Height: 900}},
			{Image: events.Image{URL: "http://10.0.0.7/mat.jpg", Role: events.RoleInline}, Fault: "timeout"},
		},
	}
}

// withLog is a gateway over a real log that holds the articles.
func withLog(t *testing.T, articles ...*article.Article) *bench {
	t.Helper()
	log := logged(t, articles...)
	return start(t, func(o *gateway.Options) { o.Articles = log; o.MediaURL = "https://cdn.example" })
}

// logged is a real log that holds the articles.
func logged(t *testing.T, articles ...*article.Article) *streams.Log {
	t.Helper()
	log, err := streams.OpenLog(t.Context(), loatest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range articles {
		if _, err := log.Put(t.Context(), a, 0); err != nil {
			t.Fatal(err)
		}
	}
	return log
}

func TestArticleIsPublicJSON(t *testing.T) {
	t.Parallel()
	b := withLog(t, sample("BS/2026/1"))
	path := "/articles/phuong-cau-go/" + events.Token("BS/2026/1")
	a := b.get(path)
	var doc struct {
		ID       string
		SiteName string `json:"site_name"`
		Version  int64
		Revision int64
		Body     string
		Images   []struct{ URL, Alt, Role string }
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || a.StatusCode != http.StatusOK {
		t.Fatal(a.Status, err)
	}
	if doc.ID != "BS/2026/1" || doc.SiteName != "Phường Cầu Gỗ <1>" || doc.Version != 7 || doc.Revision != 1 {
		t.Errorf("%+v", doc)
	}
	if want := "https://cdn.example/media/" + hash; !strings.Contains(doc.Body, want+"/w640.webp") || len(doc.Images) != 1 || doc.Images[0].URL != want+"/original.jpg" {
		t.Errorf("pictures: %+v", doc)
	}
	for _, ours := range []string{"digest", "ever", "cũ", "10.0.0.7", "timeout"} {
		if strings.Contains(a.body, ours) {
			t.Errorf("%q is in the public article: %s", ours, a.body)
		}
	}
	a.want(t, "Content-Type", "application/json; charset=utf-8")
	a.want(t, "Access-Control-Allow-Origin", "*")
	a.want(t, "Link", `<https://caugo.anhoa.example/tin/ti%C3%AAm-ch%E1%BB%A7ng>; rel="canonical"`)
	if !strings.HasPrefix(a.Header.Get("Etag"), `"7.1-`) {
		t.Errorf("ETag %s", a.Header.Get("Etag"))
	}
	if again := b.get(path, "If-None-Match", a.Header.Get("Etag")); again.StatusCode != http.StatusNotModified || again.body != "" {
		t.Errorf("with its tag: %s", again.Status)
	}
	if head := b.do(http.MethodHead, path); head.ContentLength != int64(len(a.body)) || head.body != "" {
		t.Errorf("HEAD: %s", head.Status)
	}
}

func TestWithdrawnArticlesSayWhy(t *testing.T) {
	t.Parallel()
	gone, moved, evil := sample("gone"), sample("moved"), sample("evil")
	for a, redirect := range map[*article.Article]string{
		gone: "", moved: "https://caugo.anhoa.example/tin/lịch-mới", evil: "javascript:alert(1)",
	} {
		a.Status, a.Body, a.Images = events.StatusWithdrawn, "", nil
		a.Withdrawal = &events.BulletinWithdrawal{Reason: "Đăng nhầm lịch của quý trước.", RedirectURL: redirect, WithdrawnAt: a.Accepted}
	}
	b := withLog(t, gone, moved, evil)
	for _, id := range []string{"gone", "evil"} {
		a := b.get("/articles/phuong-cau-go/" + id)
		if a.StatusCode != http.StatusGone || !strings.Contains(a.body, "Đăng nhầm lịch của quý trước.") {
			t.Errorf("%s: %s %s", id, a.Status, a.body)
		}
		a.want(t, "Location", "")
		a.want(t, "Link", `<https://caugo.anhoa.example/tin/ti%C3%AAm-ch%E1%BB%A7ng>; rel="canonical"`)
	}
	a := b.get("/articles/phuong-cau-go/moved")
	if a.StatusCode != http.StatusPermanentRedirect {
		t.Error(a.Status)
	}
	a.want(t, "Location", "https://caugo.anhoa.example/tin/l%E1%BB%8Bch-m%E1%BB%9Bi")
}

func TestWhatIsNotForEverybodyIsNotShown(t *testing.T) {
	t.Parallel()
	log := logged(t, sample("1"))
	brief := start(t, func(o *gateway.Options) { o.Articles, o.Brief = log, true })
	if a := brief.get("/articles/phuong-cau-go/1"); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "Lịch tiêm chủng") || strings.Contains(a.body, `"body"`) {
		t.Errorf("in brief: %s %s", a.Status, a.body)
	}
	none := start(t, func(o *gateway.Options) { o.Articles = nil })
	if a := none.get("/articles/phuong-cau-go/1"); a.StatusCode != http.StatusNotFound {
		t.Errorf("not at all: %s %s", a.Status, a.body)
	}
}

func TestUnknownAndOddArticleAddressesAreRefusedAlike(t *testing.T) {
	t.Parallel()
	b := withLog(t, sample("1"))
	unknown := b.get("/articles/phuong-cau-go/2")
	if unknown.StatusCode != http.StatusNotFound {
		t.Fatal(unknown.Status)
	}
	for _, path := range []string{
		"/articles/phuong-cau-go/", "/articles/phuong-cau-go", "/articles//1", "/articles/phuong-cau-go/1/",
		"/articles/phuong-cau-go/*", "/articles/*/1", "/articles/phuong-cau-go/%3E", "/articles/phuong-cau-go/1.x",
		"/articles/phuong-cau-go/%31", "/articles/phuong-cau-go/" + strings.Repeat("1", 65), "/articles/phuong-cau-go/1%00",
	} {
		if a := b.get(path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
}
