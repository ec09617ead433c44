package importer_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/text/encoding/unicode"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/importer"
	"github.com/loa-syndication/loa/internal/viettext"
)

func TestAFeedIsImportedWithAllThatItSays(t *testing.T) {
	t.Parallel()
	b, p := open(t), newPortal(t)
	p.serve("/", "text/html", `<html><head><link rel="alternate" type="application/rss+xml" href="/rss"></head><body>x</body></html>`)
	p.serve("/rss", "application/rss+xml", rss(`<copyright>© UBND phường</copyright>`, `<item>
<title>Thông báo &lt;b&gt;khẩn&lt;/b&gt; &amp;amp; lịch</title><link>/tin/1</link><guid>tin-1</guid><pubDate>Thứ ba, 06/10/2026 08:11</pubDate><dc:creator>Nguyễn Thị Lan</dc:creator>
<category>Thông báo</category><category>Đời sống</category><category>Thông báo</category>
<description><![CDATA[<p>Tóm tắt</p>]]></description><content:encoded><![CDATA[<p>Toàn văn <img src="anh/trong-bai.jpg"></p>]]></content:encoded>
<media:content url="/anh/bia.jpg" medium="image"><media:description>Ống vỡ</media:description><media:credit>Minh</media:credit></media:content>
<enclosure url="/tep/lich.pdf" type="application/pdf" length="1024"/></item>`))
	out := b.run(p.URL+"/", p.feed("/").Items(t.Context())) // the page leads to the feed
	if out.err != nil || out.counts != "1 imported" {
		t.Fatalf("%s, %v", out.counts, out.err)
	}
	a := b.last("tin-1").Article
	for what, ok := range map[string]bool{
		"title":       a.Title == "Thông báo khẩn & lịch",
		"address":     a.URL == p.URL+"/tin/1",
		"body":        strings.Contains(a.Body, "Toàn văn"),
		"summary":     a.Summary == "Tóm tắt",
		"published":   a.Published.Format(time.RFC3339) == "2026-10-06T08:11:00+07:00",
		"author":      len(a.Authors) == 1 && a.Authors[0].Name == "Nguyễn Thị Lan",
		"categories":  fmt.Sprint(a.Categories) == "[{thong-bao Thông báo} {doi-song Đời sống}]",
		"language":    a.Language == "vi-VN",
		"rights":      a.Rights != nil && a.Rights.Copyright == "© UBND phường",
		"image":       len(a.Images) == 1 && a.Images[0].URL == p.URL+"/anh/bia.jpg" && a.Images[0].Role == events.RoleLead && a.Images[0].Caption == "Ống vỡ" && a.Images[0].Credit == "Minh",
		"attachments": len(a.Attachments) == 1 && a.Attachments[0].URL == p.URL+"/tep/lich.pdf" && a.Attachments[0].Size == 1024,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, a)
		}
	}
}

func TestOlderItemsAreFollowed(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(*portal){
		"archives (RFC 5005), of which newer documents go before older": func(p *portal) {
			p.serve("/f", "application/rss+xml", rss(`<atom:link rel="prev-archive" href="/2"/><atom:link rel="next" href="/khong-theo"/>`, entry(5, "Mới"), entry(4, "Tin")))
			p.serve("/2", "application/rss+xml", rss(`<fh:archive/><atom:link rel="prev-archive" href="{base}/1"/>`, entry(5, "Cũ"), entry(3, "Tin")))
			p.serve("/1", "application/rss+xml", rss(`<fh:archive/>`, entry(2, "Tin"), entry(1, "Tin")))
		},
		"pages": func(p *portal) {
			p.serve("/f", "application/rss+xml", rss(`<atom:link rel="next" href="/f?trang=2"/>`, entry(5, "Mới"), entry(4, "Tin"), entry(3, "Tin")))
			p.serve("/f?trang=2", "application/rss+xml", rss(`<atom:link rel="next" href="/f"/>`, entry(2, "Tin"), entry(1, "Tin"))) // in a circle
		},
		"WordPress's pages": func(p *portal) {
			const generator = `<generator>https://wordpress.org/?v=6.8</generator>`
			p.serve("/f", "application/rss+xml", rss(generator, entry(5, "Mới"), entry(4, "Tin"), entry(3, "Tin")))
			p.serve("/f?paged=2", "application/rss+xml", rss(generator, entry(2, "Tin"), entry(1, "Tin")))
		},
		"JSON Feed's next_url": func(p *portal) {
			const form = `{"version":"https://jsonfeed.org/version/1.1","title":"x","next_url":%q,"items":[%s]}`
			one := func(n int, title string) string {
				return fmt.Sprintf(`{"id":"tin-%d","url":"{base}/tin/%d","title":%q,"content_text":"Một\n\nHai <b>","date_published":"2026-10-%02dT09:30:00+07:00"}`, n, n, title, n)
			}
			p.serve("/f", "application/feed+json", fmt.Sprintf(form, "/2", one(5, "Mới")+","+one(4, "Tin")))
			p.serve("/2", "application/feed+json", fmt.Sprintf(form, "", one(3, "Tin")+","+one(2, "Tin")+","+one(1, "Tin")))
		},
		"Atom": func(p *portal) {
			const form = `<feed xmlns="http://www.w3.org/2005/Atom"><title>x</title><id>x</id>%s</feed>`
			one := func(n int, title string) string {
				return fmt.Sprintf(`<entry><id>tin-%d</id><title type="html">&lt;i&gt;%s&lt;/i&gt;</title><link href="/tin/%d"/><updated>2026-10-%02dT09:30:00Z</updated><content type="text">1 &lt; 2</content></entry>`, n, title, n, n)
			}
			p.serve("/f", "application/atom+xml", fmt.Sprintf(form, `<link rel="next" href="2"/>`+one(5, "Mới")+one(4, "Tin")+one(3, "Tin")))
			p.serve("/2", "application/atom+xml", fmt.Sprintf(form, one(2, "Tin")+one(1, "Tin")))
		},
		"a server that gives the first page for every number": func(p *portal) {
			page := rss(`<generator>https://wordpress.org/?v=6.8</generator>`, entry(5, "Mới"), entry(4, "Tin"), entry(3, "Tin"), entry(2, "Tin"), entry(1, "Tin"))
			for _, path := range []string{"/f", "/f?paged=2", "/f?paged=3", "/f?paged=4"} {
				p.serve(path, "application/rss+xml", page)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPortal(t)
			serve(p)
			found := map[string]string{}
			for item, err := range p.feed("/f").Items(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if item.Problem != "" || found[item.Article.ID] != "" {
					t.Errorf("%s: %s", item.Article.ID, item.Problem)
				}
				found[item.Article.ID] = item.Article.Title
			}
			if len(found) != 5 || found["tin-5"] != "Mới" {
				t.Errorf("%v, by %v", found, p.asked)
			}
			if len(p.asked) > 4 {
				t.Errorf("asked for %v", p.asked)
			}
		})
	}
}

func TestDeletedEntriesAreWithdrawn(t *testing.T) {
	t.Parallel()
	b, p := open(t), newPortal(t)
	p.serve("/f", "application/rss+xml", rss("", entry(2, "Hai"), entry(1, "Một")))
	if out := b.run("x", p.feed("/f").Items(t.Context())); out.counts != "2 imported" {
		t.Fatal(out.counts, out.err)
	}
	// The entry may stay as a stub beside its tombstone.
	p.serve("/f", "application/rss+xml", rss(`<at:deleted-entry ref="tin-1" when="2026-10-09T10:00:00+07:00"><at:comment>Đăng <b>nhầm</b></at:comment></at:deleted-entry>`, entry(1, "Đã gỡ")))
	out := b.run("x", p.feed("/f").Items(t.Context()))
	if out.err != nil || out.counts != "1 withdrawn" {
		t.Fatal(out.counts, out.err)
	}
	if w := b.last("tin-1").Withdrawal; w == nil || w.Reason != "Đăng nhầm" || w.WithdrawnAt.Format(time.RFC3339) != "2026-10-09T10:00:00+07:00" {
		t.Errorf("%+v", w)
	}
	if b.last("tin-2").Withdrawal != nil {
		t.Error("what vanished was withdrawn")
	}
}

// The title and the body of TestTextInEveryEncoding, as letters that their bytes were taken for.
const (
	tcvn3Title, tcvn3Body = "ñy ban nh©n d©n ph\u00adêng th«ng b¸o lÞch tiªm chñng",
		"Phô huynh ®\u00ada trÎ ®Õn tr¹m y tÕ vµo c¸c s¸ng thø b¶y, mang theo sæ tiªm chñng."
	vniTitle, vniBody = "UÛy ban nhaân daân phöôøng thoâng baùo lòch tieâm chuûng",
		"Phuï huynh ñöa treû ñeán traïm y teá vaøo caùc saùng thöù baûy, mang theo soå tieâm chuûng."
	twiceTitle, twiceBody = "á»¦y ban nhÃ¢n dÃ¢n phÆ°á»\u009dng thÃ´ng bÃ¡o lá»‹ch tiÃªm chá»§ng",
		"Phá»¥ huynh Ä‘Æ°a tráº» Ä‘áº¿n tráº¡m y táº¿ vÃ\u00a0o cÃ¡c sÃ¡ng thá»© báº£y, mang theo sá»• tiÃªm chá»§ng."
)

func TestTextInEveryEncoding(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	const title, body = "Ủy ban nhân dân phường thông báo lịch tiêm chủng", "Phụ huynh đưa trẻ đến trạm y tế vào các sáng thứ bảy, mang theo sổ tiêm chủng."
	feed := func(title, body string) string {
		return strings.ReplaceAll(rss("", fmt.Sprintf(`<item><title>%s</title><link>/tin/1</link><guid>tin-1</guid><category>Thông báo</category><description>&lt;p&gt;%s&lt;/p&gt;</description></item>`, title, body)), `encoding="UTF-8"`, `encoding="%s"`)
	}
	utf16, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(strings.ReplaceAll(feed(title, body), "%s", "UTF-16"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, charset, converted string }{
		"UTF-8":                           {strings.ReplaceAll(feed(title, body), "%s", "UTF-8"), "", ""},
		"UTF-8 that is called ISO-8859-1": {strings.ReplaceAll(feed(title, body), "%s", "ISO-8859-1"), "; charset=iso-8859-1", ""},
		"UTF-16":                          {utf16, "", ""},
		"TCVN3 within UTF-8":              {strings.ReplaceAll(feed(tcvn3Title, tcvn3Body), "%s", "UTF-8"), "", "TCVN3"},
		"TCVN3 under its own name":        {string(latin1(strings.ReplaceAll(strings.ReplaceAll(feed(tcvn3Title, tcvn3Body), "%s", "x-viet-tcvn"), "Thông báo", "Th«ng b¸o"))), "", "TCVN3"},
		"VNI within UTF-8":                {strings.ReplaceAll(feed(vniTitle, vniBody), "%s", "UTF-8"), "", "VNI"},
		"UTF-8 read as Latin-1":           {strings.ReplaceAll(feed(twiceTitle, twiceBody), "%s", "UTF-8"), "", string(viettext.Mojibake)},
	} {
		path := "/" + strings.ReplaceAll(name, " ", "-")
		p.serve(path, "application/rss+xml"+c.charset, c.text)
		for item, err := range p.feed(path).Items(t.Context()) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			a := item.Article
			if item.Problem != "" || item.Converted != c.converted || !strings.EqualFold(a.Title, title) || !strings.Contains(a.Body, body) || a.Categories[0].ID != "thong-bao" || a.Categories[0].Label != "Thông báo" {
				t.Errorf("%s: converted from %q, %s: %+v", name, item.Converted, item.Problem, a)
			}
		}
	}
}

// latin1 writes letters as their bytes, and leaves out what has none.
func latin1(s string) (out []byte) {
	for _, r := range s {
		if r < 0x100 {
			out = append(out, byte(r))
		}
	}
	return out
}

func TestMaliciousFeedsAreBounded(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	all := func(f *importer.Feed) (n int, err error) {
		for _, e := range f.Items(t.Context()) {
			if e != nil {
				return n, e
			}
			n++
		}
		return n, nil
	}
	endless := func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte("<item>"), 10_000)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	p.handle("/endless", endless)
	p.handle("/bomb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	})
	p.serve("/deep", "text/xml", "<rss><channel>"+strings.Repeat("<a>", 1_000_000))
	p.serve("/entities", "text/xml", `<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY x SYSTEM "file:///etc/passwd">]>`+rss("", `<item><title>&b;&x;</title><link>/1</link><guid>1</guid></item>`))
	p.serve("/elsewhere", "application/rss+xml", rss(`<atom:link rel="next" href="http://localhost:1/khac"/>`, entry(1, "Một")))
	p.serve("/page", "text/html", "<p>Không phải feed</p>")
	p.handle("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
	})
	for path, want := range map[string]string{"/endless": "too large", "/bomb": "too large", "/deep": "deep", "/elsewhere": "another host", "/page": "no RSS, Atom or JSON feed", "/redirect": "refused", "/none": "404"} {
		if _, err := all(p.feed(path)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	for item, err := range p.feed("/entities").Items(t.Context()) {
		if err == nil && (strings.Contains(item.Article.Title, "root:") || len(item.Article.Title) > 100) {
			t.Errorf("entities became %q", item.Article.Title)
		}
	}
	private := p.feed("/page")
	private.Fetcher = importer.NewFetcher(nil)
	if _, err := all(private); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("loopback without leave: %v", err)
	}

	var calls atomic.Int32
	pages := func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		fmt.Fprint(w, rss(fmt.Sprintf(`<atom:link rel="next" href="/loop?%d"/>`, n), entry(1, "Một"))) // always the same item
	}
	for n := range 20 {
		p.handle(fmt.Sprintf("/loop?%d", n), pages)
	}
	if n, err := all(p.feed("/loop?0")); n != 1 || err != nil || calls.Load() > 5 {
		t.Errorf("%d items by %d requests, %v", n, calls.Load(), err)
	}
}

func TestItemsThatShareAnIDAreNotLostInSilence(t *testing.T) {
	t.Parallel()
	b, p := open(t), newPortal(t)
	p.serve("/f", "application/rss+xml", rss("", entry(1, "Một"), strings.Replace(entry(2, "Hai"), "tin-2", "tin-1", 1), entry(1, "Một")))
	if out := b.run("x", p.feed("/f").Items(t.Context())); out.counts != "1 imported, 1 set aside" || !strings.Contains(out.results["tin-1"].Reason, "the same id") {
		t.Errorf("%s, %+v, %v", out.counts, out.results, out.err)
	}
}

func TestAServerThatIsBusyIsAskedAgain(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	var calls atomic.Int32
	p.handle("/f", func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, rss("", entry(1, "Một")))
	})
	for _, err := range p.feed("/f").Items(t.Context()) {
		if err != nil {
			t.Error(err)
		}
	}
	if n := calls.Load(); n != 3 {
		t.Errorf("%d requests", n)
	}
}

func FuzzFeed(f *testing.F) {
	f.Add([]byte(rss(`<at:deleted-entry ref="a"><at:comment>x</at:comment></at:deleted-entry><ttl>5</ttl>`, entry(1, "Một"))))
	f.Add([]byte(`{"version":"https://jsonfeed.org/version/1.1","items":[{"id":"1","content_text":"a"}]}`))
	f.Add([]byte("<feed xmlns='http://www.w3.org/2005/Atom'><entry><id>1</id><content type='xhtml'><div>x</div></content></entry></feed>"))
	f.Add([]byte("\xff\xfe<\x00r\x00s\x00s\x00"))
	f.Add([]byte("<?xml version='1.0' encoding='tcvn'?><rss><channel><item><title>Thµnh</title></item></channel></rss>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = importer.ParseFeed(body)
	})
}
