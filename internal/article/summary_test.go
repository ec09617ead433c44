package article

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSummary(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		max  int
		want string
	}{
		"a short article is its own summary": {
			"<p>Sáng nay, chợ hoa mở cửa.</p>", 300,
			"Sáng nay, chợ hoa mở cửa.",
		},
		"the first paragraph, when it says enough": {
			"<p>" + sentence(12) + "</p><p>Đoạn hai.</p>", 150,
			sentence(12),
		},
		"a dateline is followed by the story": {
			"<p>TP. Hà Nội, 7/8/2023</p><p>Cây cầu mới thông xe sáng nay.</p>", 300,
			"TP. Hà Nội, 7/8/2023. Cây cầu mới thông xe sáng nay.",
		},
		"an introduction to a list keeps its colon": {
			"<p>Hồ sơ gồm:</p><ul><li>Đơn đăng ký;</li><li>Bản sao giấy khai sinh.</li></ul>", 300,
			"Hồ sơ gồm: Đơn đăng ký; Bản sao giấy khai sinh.",
		},
		"headings, captions, tables and scripts are skipped": {
			`<script>x = "Không."</script><style>p{}</style><h2>Tiêu đề.</h2><figure><img src="a.jpg" alt="Ảnh cầu."><figcaption>Chú thích.</figcaption></figure>` +
				`<table><caption>Bảng.</caption><tr><td><p>Ô.</p></td></tr></table><p>Lời mở đầu.</p>`, 300,
			"Lời mở đầu.",
		},
		"so are credits and ornaments": {
			"<p>* * *</p><p>Ảnh: Lê An</p><p>(Ảnh minh họa)</p><p>Ảnh hưởng của bão đã giảm.</p>", 300,
			"Ảnh hưởng của bão đã giảm.",
		},
		"an article of nothing but a table gives its first text": {
			"<table><tr><th>Giờ</th><th>Tàu</th></tr><tr><td>8.30</td><td>SE1</td></tr></table>", 300,
			"Giờ Tàu. 8.30 SE1",
		},
		"nothing gives nothing": {"<p> </p><img src=x>", 300, ""},
		"white space, entities and breaks are folded": {
			"<p>Gạo&nbsp;&amp;\n\t muối<br>đã  về.</p>", 300,
			"Gạo & muối đã về.",
		},
		"markup in a word does not part it": {
			"<p><b>H</b>à <i>Nội</i><sup>1</sup> mưa.</p>", 300,
			"Hà Nội1 mưa.",
		},
		"text that is not in a paragraph counts": {
			"Bản tin sáng.<br>Mưa nhỏ.", 300,
			"Bản tin sáng. Mưa nhỏ.",
		},
		"cut at the end of a sentence": {
			"<p>Giá gạo tăng 81.033,18 đồng. Giá rau giảm nhẹ.</p>", 40,
			"Giá gạo tăng 81.033,18 đồng.",
		},
		"not at an abbreviation": {
			"<p>Đoàn đến TP. Hồ Chí Minh để dự hội nghị lớn. Hội nghị mở ngày mai.</p>", 50,
			"Đoàn đến TP. Hồ Chí Minh để dự hội nghị lớn.",
		},
		"not inside a quotation, if it can": {
			"<p>Mưa to. “Nhà tôi ngập. Tôi mất hết.” Nước đang rút dần.</p>", 30,
			"Mưa to.",
		},
		"a long sentence is cut between words": {
			"<p>Hội đồng nhân dân thành phố thông qua nghị quyết về đầu tư</p>", 30,
			"Hội đồng nhân dân thành phố…",
		},
		"and not inside a name": {
			"<p>Buổi lễ có sự tham dự của ông Nguyễn Văn Bình và nhiều người khác</p>", 42,
			"Buổi lễ có sự tham dự của ông…",
		},
		"or after an abbreviation": {
			"<p>đoàn công tác đã lên đường đến TP. Hồ Chí Minh và các tỉnh</p>", 40,
			"đoàn công tác đã lên đường đến…",
		},
		"capitals all the way are cut all the same": {
			"<p>" + strings.Repeat("KHAI MẠC ", 20) + "</p>", 30,
			"KHAI MẠC KHAI MẠC KHAI MẠC…",
		},
		"a word longer than the limit is cut": {
			"<p>" + strings.Repeat("a", 100) + "</p>", 10,
			"aaaaaaaaa…",
		},
		"what cannot be seen is dropped": {
			"<p>An\u202Enot\u200B toàn\u000B giao &#x0B;thông.</p>", 300,
			"Annot toàn giao thông.",
		},
		"no room":  {"<p>Chữ.</p>", 0, ""},
		"room for": {"<p>Chữ nghĩa.</p>", 1, "…"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Summary(test.body, test.max)
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if n := utf8.RuneCountInString(got); n > test.max {
				t.Errorf("%d runes of %d", n, test.max)
			}
		})
	}
}

// sentence is a sentence of n words.
func sentence(n int) string {
	return "Nước" + strings.Repeat(" dâng", n-1) + "."
}

func TestPlainText(t *testing.T) {
	const body = `<h2>Chợ   hoa</h2><p>Mở <b>từ</b> 8.30 &lt;sáng&gt;.</p><ul><li>Mai</li><li>Đào</li></ul>
		<table><tr><td>A</td><td>B</td></tr></table><figure><img src="x" alt="khuất"><figcaption>Mai vàng</figcaption></figure>
		<script>alert(1)</script><svg><text>khuất</text></svg>`
	const want = "Chợ hoa\nMở từ 8.30 <sáng>.\nMai\nĐào\nA B\nMai vàng"
	if got := PlainText(body); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzSummary(f *testing.F) {
	f.Add("<p>TP. Hà Nội, 7/8/2023. “Ổn.” (Hết.)", 20)
	f.Add("<table><p>a</table></p>…", 3)
	f.Fuzz(func(t *testing.T, body string, limit int) {
		limit %= 500
		got := Summary(body, limit)
		if n := utf8.RuneCountInString(got); n > max(limit, 0) {
			t.Fatalf("%d runes of %d: %q", n, limit, got)
		}
		if Text(got, len(got)+1) != got {
			t.Fatalf("not plain text: %q", got)
		}
	})
}
