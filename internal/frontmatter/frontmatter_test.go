package frontmatter_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/frontmatter"
)

const whole = `---
site: phuong-cau-go
id: 0042
version: 3
url: https://caugo.anhoa.example/tin/lich-tiem-chung
title: "Lịch tiêm chủng: tháng 11"
summary: >-
  Hai dòng
  thành một.
language: vi
urgency: 4
published: 2026-11-02T07:30:00+07:00
updated: 2026-11-03T09:00:00+07:00
authors:
  - name: Trạm y tế phường
categories:
  - id: y-te
    label: Y tế
tags: [tiêm chủng, trẻ em]
places:
  - name: Phường Cầu Gỗ
    code: "26734"
    latitude: 10.7
    longitude: 106.7
rights:
  copyright: © UBND phường Cầu Gỗ
images:
  - file: anh/tram.jpg
    alt: Trạm y tế
    focal: {x: 0.5, y: 1}
  - file: logo.png
    content_id: huy-hieu
  - url: https://caugo.anhoa.example/anh/so.jpg
attachments:
  - url: https://caugo.anhoa.example/tep/lich.pdf
    media_type: application/pdf
    size: 48213
---
<p>Xem <img src="cid:huy-hieu" alt=''> và <IMG SRC="./anh/tram.jpg"><br>hết &amp; thôi.
`

func TestFrontMatterBecomesTheArticle(t *testing.T) {
	a, local, err := frontmatter.Parse("lich.html", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != "0042" || a.Version != 3 || a.Urgency != 4 || a.Title != "Lịch tiêm chủng: tháng 11" ||
		a.Summary != "Hai dòng thành một." || len(a.Tags) != 2 || a.Categories[0].Label != "Y tế" ||
		*a.Places[0].Latitude != 10.7 || a.Attachments[0].Size != 48213 || a.Rights.Copyright == "" {
		t.Errorf("read %+v", a)
	}
	if want := "2026-11-02T07:30:00+07:00"; a.Published.Format(time.RFC3339) != want {
		t.Errorf("published %v, want %s: the offset as written", a.Published, want)
	}
	if len(local) != 2 || local[0] != (frontmatter.LocalImage{Index: 0, File: "anh/tram.jpg"}) {
		t.Errorf("local images %+v", local)
	}
	roles := []string{a.Images[0].Role, a.Images[1].Role, a.Images[2].Role}
	if strings.Join(roles, " ") != "inline inline lead" {
		t.Errorf("roles %q: what the body shows is inline, the first of the others leads", roles)
	}
	if f := a.Images[0].Focal; f == nil || *f != (events.Focal{X: 0.5, Y: 1}) || a.Images[1].Focal != nil {
		t.Errorf("focal point %v, %v", f, a.Images[1].Focal)
	}
	if !strings.HasSuffix(a.Body, "hết &amp; thôi.\n") {
		t.Errorf("body changed: %q", a.Body)
	}
}

func TestEmbedPutsPicturesIntoTheArticle(t *testing.T) {
	a, local, err := frontmatter.Parse("lich.html", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"anh/tram.jpg": {Data: []byte("jpeg")}, "logo.png": {Data: []byte("png")}}
	if err := frontmatter.Embed(&a, local, files); err != nil {
		t.Fatal(err)
	}
	if string(a.Images[0].Data) != "jpeg" || string(a.Images[1].Data) != "png" || a.Images[2].Data != nil {
		t.Errorf("images %+v", a.Images)
	}
	if !strings.Contains(a.Body, `src="cid:image0-tram.jpg"`) || !strings.Contains(a.Body, `<img src="cid:huy-hieu" alt=''>`) {
		t.Errorf("body %s", a.Body)
	}

	delete(files, "logo.png")
	err = frontmatter.Embed(&a, local, files)
	if err == nil || !strings.Contains(err.Error(), "logo.png") {
		t.Errorf("a missing file gave %v, want an error that names it", err)
	}
}

func TestLinkGivesPicturesAddresses(t *testing.T) {
	a, local, err := frontmatter.Parse("lich.html", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	frontmatter.Link(&a, local, func(file string) string { return "http://cms.example/" + file })
	if a.Images[0].URL != "http://cms.example/anh/tram.jpg" || a.Images[1].ContentID != "" {
		t.Errorf("images %+v", a.Images)
	}
	if strings.Contains(a.Body, "cid:") || !strings.Contains(a.Body, `src="http://cms.example/logo.png"`) {
		t.Errorf("body %s", a.Body)
	}
}

func TestMarkdownBody(t *testing.T) {
	file := front("images:\n  - file: sơ đồ.png\n    caption: Sơ đồ\n") + `## Giờ mở cửa

| Ngày | Giờ |
|---|---|
| Thứ hai | 7:30 |

![Sơ đồ mới](<sơ đồ.png>) ![Chợ *mới*](cho.jpg "Chợ") ![khác](https://x.example/y.jpg) ![gốc](/anh/z.jpg)
`
	a, local, err := frontmatter.Parse("tin.md", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<h2", "<table>", "<td>7:30</td>"} {
		if !strings.Contains(a.Body, want) {
			t.Errorf("body has no %s:\n%s", want, a.Body)
		}
	}
	if len(local) != 2 || local[1].File != "cho.jpg" || a.Images[1].Alt != "Chợ mới" || a.Images[1].Role != events.RoleInline {
		t.Fatalf("local %+v, images %+v: a picture that only the body names is local too", local, a.Images)
	}
	frontmatter.Link(&a, local, func(file string) string { return "http://cms.example/" + file })
	for _, want := range []string{`src="http://cms.example/sơ đồ.png"`, `src="http://cms.example/cho.jpg"`, `src="/anh/z.jpg"`} {
		if !strings.Contains(a.Body, want) {
			t.Errorf("body has no %s:\n%s", want, a.Body)
		}
	}
}

func TestBOMAndCarriageReturnsAreNoMatter(t *testing.T) {
	file := "\ufeff" + strings.ReplaceAll(front("")+"<p>Một</p>\n", "\n", "\r\n")
	a, _, err := frontmatter.Parse("tin.HTML", []byte(file))
	if err != nil || a.Title != "Tin" || a.Body != "<p>Một</p>\n" {
		t.Errorf("read %+v, %v", a, err)
	}
}

func TestFaultsNameLineAndExpectation(t *testing.T) {
	tests := []struct {
		name, file string
		line       int
		want       string
	}{
		{"tin.html", "<p>Một</p>", 1, `expected "---"`},
		{"tin.html", "---\nsite: a\n<p>Một</p>", 1, `second "---"`},
		{"tin.html", "---\n---\n", 1, "expected keys such as site"},
		{"tin.html", "---\n- a\n---\n", 2, "key: value"},
		{"tin.html", "---\nsite: a\nversion: ba\n---\n", 3, `expected a whole number, found "ba"`},
		{"tin.html", "---\nsite: a\ntitel: b\n---\n", 3, `unknown key "titel": expected one of site, id, version`},
		{"tin.html", "---\nsite: a\nbody: b\n---\n", 3, "body: expected after the front matter"},
		{"tin.html", "---\nsite: a\nsite: b\n---\n", 3, "already defined"},
		{"tin.html", "---\nsite: a\ntitle: [\n---\n", 3, ""},
		{"tin.html", "---\npublished: 02/11/2026\n---\n", 2, `published: expected a time with its offset`},
		{"tin.html", "---\npublished: 2026-11-02\n---\n", 2, `published: expected a time with its offset`},
		{"tin.html", "---\ntags: &t [a]\n---\n", 2, "without anchors"},
		{"tin.html", "---\nauthors: !0\n---\n", 2, "without anchors"},
		{"tin.html", "---\nversion: true\n---\n", 2, `expected a whole number, found "true"`},
		{"tin.html", "---\ntags: một\n---\n", 2, "expected a list"},
		{"tin.html", "---\nsite: a\nauthors:\n  - Trạm y tế\n---\n", 4, "expected indented lines of the form key: value"},
		{"tin.html", "---\nimages: a.jpg\n---\n", 2, "expected a list"},
		{"tin.html", "---\nimages:\n  - alt: a\n---\n", 3, "images[0]: expected either file or url"},
		{"tin.html", "---\nimages:\n  - file: a.jpg\n    url: b\n---\n", 3, "images[0]: expected either file or url"},
		{"tin.html", "---\nimages:\n  - file: a.jpg\n  - file: ../a.jpg\n---\n", 4, "images[1]: expected a file beside the article"},
		{"tin.html", "---\nimages:\n  - file: a.jpg\n    data: aaaa\n---\n", 4, `unknown key "data": expected one of file, url`},
		{"tin.html", "---\nsite: a\n---\n<p>\xff</p>", 4, "expected UTF-8"},
		{"tin.md", front("") + "![x](../x.jpg)", 0, "expected pictures beside the article"},
		{"tin.txt", front(""), 0, "ends in .md or .html"},
		{"tin.html", "---\ntitle: " + strings.Repeat("a", 70<<10) + "\n---\n", 1, "at most 16384 bytes"},
	}
	for _, test := range tests {
		_, _, err := frontmatter.Parse(test.name, []byte(test.file))
		var fault *frontmatter.Error
		if !errors.As(err, &fault) {
			t.Errorf("%.60q: error %v, want a fault with its line", test.file, err)
			continue
		}
		if fault.Name != test.name || fault.Line != test.line || !strings.Contains(fault.Problem, test.want) {
			t.Errorf("%.60q: %v, want line %d and %q", test.file, err, test.line, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a.html", whole)
	f.Add("a.md", front("tags: &x [a]\nauthors: *x\n")+"![a](b.jpg)\n<img src=c>")
	f.Add("a.md", "---\n? a\n: b\n---\n")
	f.Fuzz(func(t *testing.T, name, file string) {
		a, local, err := frontmatter.Parse(name, []byte(file))
		if err != nil {
			var fault *frontmatter.Error
			if !errors.As(err, &fault) {
				t.Fatalf("error %T, want a fault", err)
			}
			return
		}
		frontmatter.Link(&a, local, func(file string) string { return "https://x.example/" + file })
		for i, img := range a.Images {
			if img.URL == "" || img.Role == "" {
				t.Fatalf("image %d has url %q and role %q", i, img.URL, img.Role)
			}
		}
	})
}

func front(more string) string {
	return "---\nsite: a\nid: b\nversion: 1\nurl: https://a.example/b\ntitle: Tin\n" +
		"published: 2026-11-02T07:30:00+07:00\n" + more + "---\n"
}
