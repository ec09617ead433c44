package article

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// newsBody is an article of about size bytes of HTML, as a CMS's editor writes it.
func newsBody(size int) string {
	const opening = `<p><strong>(Hòa Bình) – Sáng 7/8/2023, UBND TP. Hòa Bình khánh thành cây cầu mới bắc qua sông với tổng vốn 81.033,18 triệu đồng.</strong> ` +
		`Gần 500 người dân hai bên bờ có mặt từ sớm.</p>`
	const section = `<h2>Đường đến trường ngắn lại</h2>
<p style="text-align: justify;">Theo ông <a href="/can-bo/nguyen-van-binh">Nguyễn Văn Bình</a>, Chủ tịch phường, cây cầu giúp ` +
		`hơn 1.200 học sinh không phải qua đò. “Từ nay các cháu đi học yên tâm hơn,” ông nói.&nbsp;</p>
<figure class="image"><img src="/anh/2023/cầu mới.jpg" alt="Cầu mới nhìn từ bờ nam" width="1280" height="720" onerror="this.remove()">` +
		`<figcaption>Cầu mới nhìn từ bờ nam. Ảnh: <em>Lê An</em></figcaption></figure>
<ul><li>Chiều dài: 240 m;</li><li>Bề rộng: 9,5 m;</li><li>Tải trọng: 18 tấn.</li></ul>
<table class="gia"><tr><th>Hạng mục</th><th>Kinh phí</th></tr><tr><td>Phần cầu</td><td>61.200,00</td></tr></table>
`
	var b strings.Builder
	b.WriteString(opening)
	for b.Len() < size {
		b.WriteString(section)
	}
	return b.String()
}

// BenchmarkSanitise reports its time as a multiple of what bluemonday alone needs, which
// neither balances nor resolves addresses.
func BenchmarkSanitise(b *testing.B) {
	for _, kib := range []int{3, 60} {
		b.Run(fmt.Sprintf("%dKiB", kib), func(b *testing.B) {
			body := newsBody(kib << 10)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Sanitise(body, SanitiseOptions{Base: page}); err != nil {
					b.Fatal(err)
				}
			}
			took := b.Elapsed()
			start := time.Now()
			for range b.N {
				policy.Sanitize(body)
			}
			b.ReportMetric(float64(took)/float64(time.Since(start)), "x-bluemonday")
		})
	}
}

func BenchmarkSummary(b *testing.B) {
	for _, kib := range []int{3, 60} {
		b.Run(fmt.Sprintf("%dKiB", kib), func(b *testing.B) {
			body := newsBody(kib << 10)
			b.ReportAllocs()
			for b.Loop() {
				Summary(body, SummaryLength)
			}
		})
	}
}

func BenchmarkPlainText(b *testing.B) {
	body := newsBody(60 << 10)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		PlainText(body)
	}
}

func BenchmarkText(b *testing.B) {
	for b.Loop() {
		Text("Khánh thành cây cầu mới bắc qua sông tại TP. Hòa Bình", SummaryLength)
	}
}
