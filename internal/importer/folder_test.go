package importer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/internal/importer"
	"github.com/loa-syndication/loa/internal/sample"
)

func TestAFolderIsImported(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"thong-bao.md": "---\ntitle: Lịch cắt nước\npublished: 2026-10-05T07:30:00+07:00\n---\nCông ty **cấp nước** thông báo.\n\n![Đường ống](anh.jpg)\n",
		"2020/trang.html": `<!doctype html><html lang="vi"><head><title>Trang | Cổng thông tin</title><meta property="og:title" content="Họp tổ dân phố">
<meta name="description" content="Tối thứ Bảy"><meta property="og:image" content="anh/hop.jpg"></head><body><nav>Trang chủ</nav>
<article><h1>Họp tổ dân phố</h1><span class="post-date">Thứ ba, 06/10/2020 08:11</span><p>Bảy giờ tối, <a href="ban-do.html">nhà văn hóa</a>.</p><script>x()</script></article><footer>©</footer></body></html>`,
		"cu.html":            "<html><head><meta charset=\"iso-8859-1\"><title>Th\xf4ng</title></head><body><p><font face=\".VnTime\">\xf1y ban nh\xa9n d\xa9n ph\xad\xeang häp</font></p></body></html>",
		"2024-05-17-hugo.md": "---\nlayout: post\ntitle: \"Bài <i>kiểu</i> Hugo\"\ncategories: [Tin tức]\ntags: một\nauthor: {name: Lan}\nlastmod: 18/05/2024 10:00\ndraft: false\npermalink: /tin/hugo/\nimage: /bia.jpg\n---\nNội dung **đậm**.\n",
		"nhap.md":            "---\ntitle: Nháp\ndate: 2024-05-17\ndraft: true\n---\nx\n",
		"bom.md":             "---\ntitle: x\na: &a [x, x]\nb: &b [*a, *a]\ndate: *b\n---\nx\n",
		"hong.md":            "Không có tiêu đề", "la.md": "---\ntitle: Lạ\nsite: quan-khac\n---\nx\n", ".an/bi-mat.md": "---\ntitle: Ẩn\n---\nx\n", "anh.txt": "x", "rong.html": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "anh.jpg"), sample.Photo(1, 64, 48), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "ngoai.html")); err != nil {
		t.Fatal(err)
	}
	folder := &importer.Folder{Dir: dir, Site: ward, Base: "https://caugo.example.vn/luu"}
	out := b.run("file:///x", folder.Items(t.Context()))
	if out.err != nil || out.counts != "4 imported, 6 set aside" {
		t.Fatalf("%s, %v\n%+v", out.counts, out.err, out.results)
	}
	for id, want := range map[string]string{"hong": "front matter", "la": "quan-khac", "rong": "neither title nor text", "ngoai": "escapes", "nhap": "draft", "bom": "anchors"} {
		if got := out.results[id].Reason; !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	if a := b.last("thong-bao").Article; a.Title != "Lịch cắt nước" || a.URL != "https://caugo.example.vn/luu/thong-bao.md" || len(a.Images) != 1 || len(a.Images[0].Data) == 0 {
		t.Errorf("%+v", a)
	}
	a := b.last("2020/trang").Article
	if a.Title != "Họp tổ dân phố" || a.Summary != "Tối thứ Bảy" || a.Published.Format(time.RFC3339) != "2020-10-06T08:11:00+07:00" || a.Language != "vi" ||
		a.Images[0].URL != "https://caugo.example.vn/luu/2020/anh/hop.jpg" || strings.Contains(a.Body, "<h1>") || strings.Contains(a.Body, "x()") || strings.Contains(a.Body, "Trang chủ") || !strings.Contains(a.Body, "nhà văn hóa") || strings.Contains(a.Body, "08:11") {
		t.Errorf("%+v", a)
	}
	if a := b.last("2024-05-17-hugo").Article; a.Title != "Bài kiểu Hugo" || a.URL != "https://caugo.example.vn/tin/hugo/" || a.Published.Format(time.RFC3339) != "2024-05-17T00:00:00+07:00" || a.Updated == nil ||
		len(a.Tags) != 1 || a.Categories[0].ID != "tin-tuc" || a.Authors[0].Name != "Lan" || a.Images[0].URL != "https://caugo.example.vn/bia.jpg" || !strings.Contains(a.Body, "<strong>đậm") {
		t.Errorf("%+v", a)
	}
	if a := b.last("cu").Article; !strings.Contains(a.Body, "ủy ban nhân dân phường") || !a.Published.Equal(now) {
		t.Errorf("%+v", a)
	}
	now := b.run("file:///x", folder.Items(t.Context()), func(o *importer.Options) { o.Now = func() time.Time { return time.Now().Add(time.Hour) } })
	if now.counts != "4 unchanged, 6 set aside" {
		t.Errorf("an hour later: %s", now.counts)
	}
}

func FuzzPage(f *testing.F) {
	f.Add([]byte("<html><head><meta name=author content=Lan></head><body><article><h1>x</h1><time>12/10/2024</time><p>y</article>"))
	f.Add([]byte("---\ntitle: x\ndate: 2024-05-17\n---\n**y**"))
	f.Add([]byte("\xff\xfe<\x00p\x00>\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		for _, name := range []string{"a.html", "a.md"} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		for item, err := range (&importer.Folder{Dir: dir, Site: ward, Base: "https://caugo.example.vn/"}).Items(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; item.Problem == "" && (item.Article.Title == "" || item.Article.URL == "") {
				t.Fatalf("%+v", item)
			}
		}
		if n != 2 {
			t.Fatalf("%d items", n)
		}
	})
}
