package article

import (
	"errors"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/text/unicode/norm"
)

// page is the article that the tests' bodies belong to.
var page = &url.URL{Scheme: "https", Host: "hoabinh.example.vn", Path: "/tin/2023/cau-moi.html"}

func sanitise(t *testing.T, body string) string {
	t.Helper()
	out, err := Sanitise(body, SanitiseOptions{Base: page})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSanitise(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"news markup stays": {
			`<h2>Chợ</h2><p lang="vi">Mở <strong>sớm</strong>.<br/></p><ul><li>Mai</li></ul><blockquote><p>Vui</p></blockquote>`,
			`<h2>Chợ</h2><p lang="vi">Mở <strong>sớm</strong>.<br/></p><ul><li>Mai</li></ul><blockquote><p>Vui</p></blockquote>`,
		},
		"tables stay, and get their bodies": {
			`<table border=1 style="x"><caption>Giá</caption><tr><th scope=col colspan=2>Gạo<td rowspan=99999999>1.000</table>`,
			`<table><caption>Giá</caption><tbody><tr><th scope="col" colspan="2">Gạo</th><td>1.000</td></tr></tbody></table>`,
		},
		"a picture with its caption": {
			`<figure class=x><img src="/anh/cau.jpg" alt="Cầu" width=640 height=480 onerror=alert(1)><figcaption>Ảnh: An</figcaption></figure>`,
			`<figure><img src="https://hoabinh.example.vn/anh/cau.jpg" alt="Cầu" width="640" height="480" loading="lazy"/><figcaption>Ảnh: An</figcaption></figure>`,
		},
		"a caption without its picture goes": {`<p>a</p><figure><div><iframe src=//v.example/1></iframe></div><figcaption>Phim</figcaption></figure>`, `<p>a</p>`},
		"a picture that loads late":          {`<img src="data:image/gif;base64,R0" data-src="b.jpg">`, `<img src="https://hoabinh.example.vn/tin/2023/b.jpg" loading="lazy"/>`},
		"sound and film get controls":        {`<video src=v.mp4 autoplay poster=/p.jpg></video><audio><source src=a.mp3 type=audio/mpeg><source src=x:y></audio>`, `<video src="https://hoabinh.example.vn/tin/2023/v.mp4" poster="https://hoabinh.example.vn/p.jpg" controls="" preload="none"></video><audio controls="" preload="none"><source src="https://hoabinh.example.vn/tin/2023/a.mp3" type="audio/mpeg"/></audio>`},
		"scripts, styles and frames go":      {`a<script>alert(1)</script><style>p{}</style><iframe src=//x>b</iframe><object data=x>c</object><svg onload=x><script>d</script></svg>e`, `ae`},
		"forms leave their text":             {`<form action=/x><p>Tên <input name=a onfocus=x autofocus></p><button>Gửi</button></form>`, `<p>Tên </p>`},
		"attributes of events and style go":  {`<p onclick="x" style="background:url(javascript:x)" class=a id=b>c</p>`, `<p>c</p>`},
		"comments and CDATA go":              {`a<!-- <b> --><![CDATA[x]]>b<!DOCTYPE html><?php x ?>c`, `abc`},
		"an end of CDATA is text":            {`]]><script>alert(1)</script>`, `]]&gt;`},
		"the base element is not obeyed":     {`<base href="https://evil.example/"><a href="a">x</a>`, `<a href="https://hoabinh.example.vn/tin/2023/a">x</a>`},
		"what is left open is closed":        {`<div><p><b>a<p>b</div>c</i>`, `<div><p><b>a</b></p><p>b</p></div>c`},
		"items and cells end each other":     {`<ul><li>a<ul><li>b</ul><li>c</ul><dl><dt>d<dd>e</dl>`, `<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul><dl><dt>d</dt><dd>e</dd></dl>`},
		"text is put in order":               {"<p>a\u202Eb\u000Bc&#x0B;d&#xFFFE;e\uFEFF o&#x302;&#x301;</p>", "<p>ab c de ố</p>"},
		"a mark cannot join a tag":           {"<p>a<b>\u0338</b>\u0338c</p>", "<p>a<b></b>c</p>"},
		"entities for tags stay text":        {`&lt;script&gt;alert(1)&lt;/script&gt;`, `&lt;script&gt;alert(1)&lt;/script&gt;`},
		"a stray bracket stays text":         {`1 < 2 <</b>script>alert(1)`, `1 &lt; 2 &lt;script&gt;alert(1)`},
		"Word's leftovers go":                {`<p class=MsoNormal><o:p></o:p><span style="x"><font face=a>Tin</font></span><o:p/></p>`, `<p>Tin</p>`},
		"first of twice the same attribute":  {`<img src=a.jpg src=javascript:x>`, `<img src="https://hoabinh.example.vn/tin/2023/a.jpg" loading="lazy"/>`},
		"an alt text stays as it was":        {`<img src=a.jpg alt="  Cầu &lt;mới&gt; "><img src=a.jpg alt="">`, `<img src="https://hoabinh.example.vn/tin/2023/a.jpg" alt="  Cầu &lt;mới&gt; " loading="lazy"/><img src="https://hoabinh.example.vn/tin/2023/a.jpg" alt="" loading="lazy"/>`},
		"nothing":                            {``, ``},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sanitise(t, test.in); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestSanitiseMakesLinksAbsolute(t *testing.T) {
	const dropped = "dropped"
	for href, want := range map[string]string{
		"/a":                                         "https://hoabinh.example.vn/a",
		"b/../c d.html":                              "https://hoabinh.example.vn/tin/2023/c%20d.html",
		"#muc-2":                                     "https://hoabinh.example.vn/tin/2023/cau-moi.html#muc-2",
		"?trang=2":                                   "https://hoabinh.example.vn/tin/2023/cau-moi.html?trang=2",
		"//cdn.example.vn/x":                         "https://cdn.example.vn/x",
		`\\evil.example\x`:                           "https://hoabinh.example.vn/tin/2023/%5C%5Cevil.example%5Cx",
		" https://example.vn/ảnh.jpg ":               "https://example.vn/%E1%BA%A3nh.jpg",
		"https://example.vn/?q=cầu&b":                "https://example.vn/?q=c%E1%BA%A7u&b",
		"https://tỉnh.example.vn/":                   "https://xn--tnh-dlz.example.vn/",
		"https://example.vn/50%.pdf":                 "https://example.vn/50%25.pdf",
		"https://bank.vn@evil.example":               "https://evil.example",
		"mailto:ubnd@example.vn":                     "mailto:ubnd@example.vn",
		"tel:+84283822":                              "tel:+84283822",
		"":                                           dropped,
		"javascript:alert(1)":                        dropped,
		"JaVaScRiPt:alert(1)":                        dropped,
		"jav&#x09;ascript:alert(1)":                  dropped,
		"jav&#x0A;ascript:alert(1)":                  dropped,
		"java\x00script:alert(1)":                    dropped,
		"&#1;javascript:alert(1)":                    dropped,
		" &#14; javascript:alert(1)":                 dropped,
		"javascript&colon;alert(1)":                  dropped,
		"&#106;avascript&#58;x":                      dropped,
		"feed:javascript:alert(1)":                   dropped,
		"view-source:javascript:x":                   dropped,
		"vbscript:x":                                 dropped,
		"data:text/html,<script>":                    dropped,
		"blob:https://x/1":                           dropped,
		"file:///etc/passwd":                         dropped,
		"loa-media:media/a.jpg":                      dropped,
		"https:/evil":                                dropped,
		"https:evil":                                 dropped,
		"http://":                                    dropped,
		"http://a b/":                                dropped,
		"http://[::1":                                dropped,
		"https://" + strings.Repeat("a", maxAddress): dropped,
	} {
		got := sanitise(t, `<a href="`+href+`">x</a>`)
		if want == dropped {
			want = "x"
		} else {
			rel := ` rel="noopener"`
			if strings.HasPrefix(want, "https://"+page.Host) || !strings.HasPrefix(want, "http") {
				rel = ""
			}
			want = `<a href="` + html.EscapeString(want) + `"` + rel + `>x</a>`
		}
		if got != want {
			t.Errorf("%.60q: got %s, want %s", href, got, want)
		}
	}
}

func TestSanitiseMakesPicturesAbsolute(t *testing.T) {
	got := sanitise(t, `<img src="//cdn.example.vn/a.jpg" sizes="(min-width: 40em) 50vw, 100vw"
		srcset="a-320.jpg 320w, javascript:x 1x,/b,c.jpg 2.5x, d.jpg 640w 5h, data:image/png;base64,AA 9w, //e.example/f.jpg,">`)
	want := `<img src="https://cdn.example.vn/a.jpg" srcset="https://hoabinh.example.vn/tin/2023/a-320.jpg 320w, ` +
		`https://hoabinh.example.vn/b,c.jpg 2.5x, https://e.example/f.jpg" sizes="(min-width: 40em) 50vw, 100vw" loading="lazy"/>`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, src := range []string{
		"", "javascript:alert(1)", "data:image/svg+xml,<svg onload=x>", "data:image/png;base64,AA", "cid:a", "loa-media:media/0/original.jpg",
		"LOA-MEDIA:x", "file:///x", "mailto:a@b", "tel:1",
	} {
		if got := sanitise(t, `<p>a<img src="`+html.EscapeString(src)+`"></p>`); got != "<p>a</p>" {
			t.Errorf("%s: %s", src, got)
		}
	}
	if got, err := Sanitise(`<a href="/a">b</a><img src="c.jpg"><q cite="d">e</q>`, SanitiseOptions{}); err != nil || got != "b<q>e</q>" {
		t.Errorf("without a base: %s, %v", got, err)
	}
}

// stored knows one picture by its address and one by its content id.
func stored(src string) (Picture, bool) {
	switch src {
	case "https://hoabinh.example.vn/anh/c%E1%BA%A7u.jpg", "cid:anh-1":
		return Picture{
			Src: "loa-media:media/ab/w640.jpg", SrcSet: "loa-media:media/ab/w320.jpg 320w, loa-media:media/ab/w640.jpg 640w",
			Sizes: "100vw", Width: 640, Height: 480, Alt: "Cầu mới",
		}, true
	}
	return Picture{}, false
}

func TestSanitiseShowsStoredPictures(t *testing.T) {
	const picture = `<img src="loa-media:media/ab/w640.jpg" srcset="loa-media:media/ab/w320.jpg 320w, loa-media:media/ab/w640.jpg 640w" sizes="100vw" `
	for in, want := range map[string]string{
		`<img src="/anh/cầu.jpg" srcset="/x.jpg 9w" sizes=9px width=1 height=1 alt="Nhịp  3">`: picture + `alt="Nhịp  3" width="640" height="480" loading="lazy"/>`,
		`<img src="/anh/c%E1%BA%A7u.jpg" alt="">`:                                              picture + `alt="" width="640" height="480" loading="lazy"/>`,
		`<img src="CID:anh-1">`:                          picture + `alt="Cầu mới" width="640" height="480" loading="lazy"/>`,
		`<img src="cid:anh-2">`:                          ``,
		`<img src="/anh/khac.jpg">`:                      `<img src="https://hoabinh.example.vn/anh/khac.jpg" loading="lazy"/>`,
		`<img src="loa-media:a.jpg">`:                    ``,
		`<img src="/a.jpg" srcset="loa-media:a.jpg 9w">`: `<img src="https://hoabinh.example.vn/a.jpg" loading="lazy"/>`,
	} {
		opts := SanitiseOptions{Base: page, Image: stored}
		got, err := Sanitise(in, opts)
		if err != nil || got != want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", in, got, err, want)
		}
		opts.Stored = true
		if again, err := Sanitise(got, opts); err != nil || again != got {
			t.Errorf("a stored body changed:\n%s, %v\n%s", again, err, got)
		}
	}
}

func TestSanitiseLimits(t *testing.T) {
	for name, test := range map[string]struct {
		body  string
		limit int // 0: the body passes
	}{
		"50,000 unclosed bold tags":    {strings.Repeat("<b>", 49_990) + "x", 0},
		"50,000 unclosed divisions":    {strings.Repeat("<div>", 49_990) + "x", 0},
		"100,000 levels":               {strings.Repeat("<div>", 100_000) + "x" + strings.Repeat("</div>", 100_000), maxNodes},
		"20,000 levels":                {strings.Repeat("<div>", 20_000) + "x" + strings.Repeat("</div>", 20_000), 0},
		"formatting left open by each": {counted(10_000, `<p><b title=%>`), 0},
		"links left open by each":      {counted(4_000, `<p><a href=%>x`), 0},
		"tables in tables":             {strings.Repeat("<table><tr><td>", 10_000), 0},
		"tables around nothing":        {strings.Repeat("<table>", 40_000), 0},
		"items in items":               {strings.Repeat("<ul><li>", 20_000), 0},
		"crossed formatting":           {strings.Repeat("<b><i><p></b></i>", 8_000), 0},
		"text pushed out of tables":    {strings.Repeat("<table>a<b>", 15_000), 0},
		"100,000 attributes":           {"<p " + strings.Repeat("title=a x=y ", 50_000) + ">x</p>", 0},
		"an attribute of a megabyte":   {`<img src=a.jpg alt="` + strings.Repeat("a", 1<<20) + `">`, maxBody},
		"a srcset of a megabyte":       {`<img src=a.jpg srcset="` + strings.Repeat(",", 1<<20) + `">x`, 0},
		"an address of a megabyte":     {`<a href="` + strings.Repeat("%", 1<<20) + `">x</a>`, 0},
		"brackets":                     {strings.Repeat("<", 100_000) + "x", 0},
		"comments":                     {strings.Repeat("<!-", 10_000) + strings.Repeat("<!--", 10_000) + "x", 0},
		"text that grows when escaped": {"x" + strings.Repeat("&", 200_000), maxBody},
		"a body of 600 KiB":            {"<p>x" + strings.Repeat("a", 600<<10) + "</p>", maxBody},
		"an input of 9 MiB":            {`x<img src="data:` + strings.Repeat("a", 9<<20) + `">`, maxInput},
		"60,000 tags":                  {strings.Repeat("x<br>", 30_000), maxNodes},
		"a picture pasted as text":     {`x<img src="data:image/png;base64,` + strings.Repeat("A", 4<<20) + `">`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			out, err := Sanitise(test.body, SanitiseOptions{Base: page})
			if took := time.Since(start); took > 5*time.Second { // a few milliseconds to 300
				t.Errorf("took %v", took)
			}
			var tooLarge *TooLargeError
			switch {
			case test.limit == 0:
				if err != nil {
					t.Fatal(err)
				}
				checkSafe(t, out)
			case !errors.As(err, &tooLarge) || tooLarge.Limit != test.limit:
				t.Errorf("got %v, want the limit %d", err, test.limit)
			}
		})
	}
}

// counted repeats a pattern, with another number in the place of "%" each time.
func counted(times int, pattern string) string {
	var b strings.Builder
	for i := range times {
		b.WriteString(strings.ReplaceAll(pattern, "%", strconv.Itoa(i)))
	}
	return b.String()
}

func TestTooLargeErrorNamesTheLimit(t *testing.T) {
	_, err := Sanitise(strings.Repeat("a", maxBody+1), SanitiseOptions{})
	if err == nil || err.Error() != "sanitised body is larger than the limit of 524288 bytes" {
		t.Error(err)
	}
}

// attacks are seeds: each is one way in that a sanitiser has failed at.
var attacks = []string{
	`<p>Sáng <b>nay</b></p><figure><img src="a.jpg" alt="x"><figcaption>y</figcaption></figure>`,
	`]]><script>alert(1)</script>`,
	`<a href="jav&#x09;ascript:alert(1)">x</a>`,
	`<a href="//evil.example/%zz?a=1;b=<&c=%">x</a>`,
	`<svg><p><style><img src="</style><img src=x onerror=alert(1)//">`,
	`<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">`,
	`<noscript><p title="</noscript><img src=x onerror=alert(1)>">`,
	`<textarea><p title="</textarea><img src=x onerror=alert(1)>">`,
	`<title><p title="</title><script>alert(1)</script>">`,
	`<xmp><p title="</xmp><img src=x onerror=alert(1)>">`,
	`<plaintext></plaintext><script>alert(1)</script>`,
	`<a href=x><table><a href=y>z</table>w`,
	`<form><div></form><form><table><form></table>`,
	`<table><p>a<tr>b<td>c<table>d`,
	`<b><p>a</b>b</p><i><a href=q><b></i>c</a>`,
	`<ul><li><p>a<li>b<dl><dd>c<dd>d<dt></ul>`,
	`<pre>` + "\n\n" + `a</pre><ruby>a<rt>b<rp>c`,
	`<scr<script>ipt>alert(1)</scr</script>ipt>`,
	`<img src=x:y onerror=alert(1)><img src="cid:a" srcset=",,a 1x,b">`,
	`<p/><a href=x/>y<div/>z</p>`,
	"<p>e&#x301;<b>&#x338;</b>\u202E\u1100<a>\u1161</a>\uFFFE\xFF</p>",
	`<h1>a<h2>b</h1>c<details><summary>d<details>`,
	`<video><source src=a><table><source></video><audio src=b>`,
	`<frameset><frame><select><option><select>`,
	strings.Repeat("<div>", 70) + "<p>a" + strings.Repeat("</div>", 70) + "<p>b",
	strings.Repeat("<table><td>", 40) + "a",
}

// FuzzSanitise checks what must hold for whatever a CMS sends: the result is safe, parses to
// the tree that it was rendered from, and stays as it is the second time.
func FuzzSanitise(f *testing.F) {
	for _, a := range attacks {
		f.Add(a)
	}
	f.Fuzz(checkSettled)
}

// FuzzSanitiseNesting does the same with tags, well nested or not, in place of bytes.
func FuzzSanitiseNesting(f *testing.F) {
	tags := strings.Fields(`p b a i li ul td tr table div h2 h3 dd dt dl tbody caption col colgroup th thead figure
		figcaption img br span pre ruby rt rp details summary blockquote video source form button select option svg
		math template font nobr script style noscript body frameset object marquee address hr textarea`)
	f.Add([]byte{2, 8, 2, 250, 0, 6})
	f.Add([]byte{8, 7, 6, 0, 8, 128 + 7, 1, 128 + 8, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		var b strings.Builder
		for i, c := range data {
			switch tag := tags[int(c&127)%len(tags)]; {
			case c&127 > 120:
				b.WriteString(" x")
			case c&128 != 0:
				b.WriteString("</" + tag + ">")
			default:
				b.WriteString("<" + tag + " href=q src=q title=" + strconv.Itoa(i%3) + ">")
			}
		}
		checkSettled(t, b.String())
	})
}

func checkSettled(t *testing.T, body string) {
	opts := SanitiseOptions{Base: page}
	out, err := Sanitise(body, opts)
	if err != nil {
		if !errors.As(err, new(*TooLargeError)) {
			t.Fatal(err)
		}
		return
	}
	checkSafe(t, out)
	again, err := Sanitise(out, opts)
	if err != nil {
		t.Fatal(err)
	}
	if again != out {
		t.Errorf("not settled\nin    %q\nonce  %q\ntwice %q", body, out, again)
	}
}

func TestSanitiseSurvivesAttacks(t *testing.T) {
	for _, a := range attacks {
		checkSafe(t, sanitise(t, a))
	}
}

var (
	danger        = regexp.MustCompile(`(?i)<(script|style|iframe|object|embed|svg|math|form|input|link|meta|base|template|noscript|textarea)[\s/>]`)
	safeAttribute = regexp.MustCompile(`^(alt|cite|colspan|controls|datetime|dir|height|href|lang|loading|open|poster|preload|rel|reversed|rowspan|scope|sizes|span|src|srcset|start|title|type|value|width)$`)
	safeAddress   = regexp.MustCompile(`^(https?://[A-Za-z0-9\[]|mailto:.|tel:.)[!-~]*$`)
)

// checkSafe checks what holds for every sanitised body, with eyes of its own.
func checkSafe(t *testing.T, out string) {
	t.Helper()
	checkChars(t, out)
	if m := danger.FindString(out); m != "" {
		t.Errorf("%s in %q", m, out)
	}
	root, err := parseBody(out)
	if err != nil {
		t.Fatal(err)
	}
	if again := render(root); again != out {
		t.Errorf("parses to another tree:\n%q\n%q", out, again)
	}
	for n := range root.Descendants() {
		for _, a := range n.Attr {
			if !safeAttribute.MatchString(a.Key) {
				t.Errorf("attribute %s in %q", a.Key, out)
			}
			switch a.Key {
			case "href", "src", "poster", "cite":
				if !safeAddress.MatchString(a.Val) || !norm.NFC.IsNormalString(a.Val) {
					t.Errorf("address %q in %q", a.Val, out)
				}
			}
		}
		if depth := len(ancestors(n)); depth > maxDepth+1 { // a void element may stand in the deepest
			t.Errorf("%d levels", depth)
		}
	}
}

func ancestors(n *html.Node) (list []*html.Node) {
	for p := range n.Ancestors() {
		list = append(list, p)
	}
	return list
}
