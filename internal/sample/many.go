package sample

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
)

// Many gives n further articles, distinct and always the same, newest last: plausible
// notices with a body of 3 to 4 KB and without pictures, spread over the sites and their
// usual categories, one a minute up to [Base].
func Many(n int) iter.Seq[events.Article] {
	return func(yield func(events.Article) bool) {
		for i := range n {
			published := Base.Add(-time.Duration(n-i) * time.Minute)
			if !yield(one(i, published)) {
				return
			}
		}
	}
}

// one makes the article of number i.
func one(i int, published time.Time) events.Article {
	w := writer{rand.New(rand.NewPCG(uint64(i), 0x10a))}
	sites := Sites()
	site := sites[w.IntN(len(sites))]
	topic := topics[w.IntN(len(topics))]
	place := pick(w, places)
	number := i + 1
	article := events.Article{
		Site:     site.ID,
		ID:       fmt.Sprintf("tin-%06d", number),
		Version:  1,
		URL:      fmt.Sprintf("%stin/%s-%d", site.URL, topic.category.ID, number),
		Title:    fmt.Sprintf("%s tại %s (thông báo số %d)", pick(w, topic.titles), place, number),
		Body:     w.body(topic, place, number),
		Language: "vi",
		Authors:  []events.Author{{Name: pick(w, authors)}},
		Categories: []events.Category{
			topic.category,
		},
		Tags:      []string{pick(w, topic.tags), place},
		Published: published,
		Places:    []events.Place{{Name: place}},
		Rights:    &events.Rights{Copyright: "© " + site.Name},
	}
	if w.IntN(2) == 0 {
		article.Summary = w.sentence(topic, place) + " " + w.sentence(topic, place)
	}
	if w.IntN(3) == 0 {
		article.Categories = append(article.Categories, events.Category{ID: "tin-tuc", Label: "Tin tức"})
	}
	return article
}

// writer makes sentences of phrases.
type writer struct{ *rand.Rand }

// bodyAtLeast is when a body has enough paragraphs, in bytes; the last one and the end add
// less than 1 KB.
const bodyAtLeast = 3000

func (w writer) body(t topic, place string, number int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<p>Thông báo số %d/TB-UBND: %s</p>\n", number, w.sentence(t, place))
	for paragraph := 0; b.Len() < bodyAtLeast; paragraph++ {
		if paragraph == 2 {
			w.list(&b, t)
			continue
		}
		b.WriteString("<p>")
		for range 2 + w.IntN(2) {
			b.WriteString(w.sentence(t, place) + " ")
		}
		b.WriteString("</p>\n")
	}
	fmt.Fprintf(&b, `<p>Chi tiết xem <a href="/van-ban/%d">văn bản đính kèm</a>, hoặc gọi (0200) 555 %04d.</p>`,
		number, w.IntN(10_000))
	return b.String()
}

func (w writer) list(b *strings.Builder, t topic) {
	b.WriteString("<ul>\n")
	for range 3 {
		fmt.Fprintf(b, "  <li>%s: %s, từ %d giờ đến %d giờ;</li>\n",
			pick(w, places), pick(w, t.objects), 6+w.IntN(4), 13+w.IntN(8))
	}
	b.WriteString("</ul>\n")
}

func (w writer) sentence(t topic, place string) string {
	day := fmt.Sprintf("%d/%d/2026", 1+w.IntN(28), 1+w.IntN(12))
	switch w.IntN(6) {
	case 0:
		return fmt.Sprintf("%s cho biết %s ở %s được hoàn thành trước ngày %s.",
			pick(w, authors), pick(w, t.objects), place, day)
	case 1:
		return fmt.Sprintf("Đến ngày %s, đã có %d hộ dân tham gia, đạt %d,%d%% kế hoạch năm.",
			day, 40+w.IntN(900), 35+w.IntN(60), w.IntN(10))
	case 2:
		return fmt.Sprintf("Tổng kinh phí cho %s là %d.%03d,%02d triệu đồng, trong đó ngân sách TP. An Hòa hỗ trợ %d%%.",
			pick(w, t.objects), 1+w.IntN(40), w.IntN(1000), w.IntN(100), 30+w.IntN(60))
	case 3:
		return fmt.Sprintf("Bà con %s %s trước %d giờ ngày %s.", pick(w, places), pick(w, t.actions), 7+w.IntN(10), day)
	case 4:
		return fmt.Sprintf("So với cùng kỳ, %s tăng %d,%d%%, riêng %s tăng gần gấp đôi.",
			pick(w, t.objects), 2+w.IntN(20), w.IntN(10), pick(w, places))
	default:
		return fmt.Sprintf("Khi cần hỗ trợ về %s, người dân %s hoặc liên hệ tổ dân phố số %d.",
			pick(w, t.objects), pick(w, t.actions), 1+w.IntN(40))
	}
}

func pick(w writer, from []string) string { return from[w.IntN(len(from))] }

// topic is what the articles of one category speak of.
type topic struct {
	category                       events.Category
	titles, objects, actions, tags []string
}

var topics = []topic{
	{events.Category{ID: "thong-bao", Label: "Thông báo"},
		[]string{"Lịch tiếp công dân", "Niêm yết hồ sơ cấp giấy chứng nhận", "Thay đổi giờ làm việc của bộ phận một cửa"},
		[]string{"việc niêm yết hồ sơ", "lịch tiếp công dân", "danh sách cử tri", "hồ sơ trợ cấp xã hội"},
		[]string{"mang theo căn cước và giấy hẹn", "đăng ký qua cổng dịch vụ công", "đối chiếu thông tin tại nhà văn hóa"},
		[]string{"hành chính", "một cửa"}},
	{events.Category{ID: "y-te", Label: "Y tế"},
		[]string{"Khám sức khỏe miễn phí cho người cao tuổi", "Phun hóa chất diệt muỗi", "Tư vấn dinh dưỡng học đường"},
		[]string{"đợt khám sức khỏe", "việc diệt lăng quăng", "điểm tiêm lưu động", "tủ thuốc cộng đồng"},
		[]string{"đậy kín vật chứa nước", "mang theo sổ khám bệnh", "nhịn ăn sáng để lấy máu"},
		[]string{"sức khỏe", "phòng dịch"}},
	{events.Category{ID: "giao-thong", Label: "Giao thông"},
		[]string{"Phân luồng tạm thời", "Dặm vá mặt đường", "Lắp đèn tín hiệu mới"},
		[]string{"việc thảm lại mặt đường", "tuyến xe buýt số 4", "hệ thống đèn tín hiệu", "vỉa hè lát mới"},
		[]string{"đi theo biển chỉ dẫn", "dời xe khỏi lòng đường", "giảm tốc độ qua rào chắn"},
		[]string{"phân luồng", "an toàn giao thông"}},
	{events.Category{ID: "moi-truong", Label: "Môi trường"},
		[]string{"Ra quân dọn kênh", "Trồng cây đầu mùa mưa", "Đổi rác tái chế lấy cây xanh"},
		[]string{"việc nạo vét kênh", "hàng cây mới trồng", "điểm đổi rác tái chế", "trạm bơm chống ngập"},
		[]string{"phân loại rác từ nhà", "không đổ xà bần xuống kênh", "mang pin cũ đến điểm thu gom"},
		[]string{"rác tái chế", "cây xanh"}},
	{events.Category{ID: "van-hoa", Label: "Văn hóa"},
		[]string{"Đêm nhạc cộng đồng", "Thư viện lưu động ghé thăm", "Hội thi nấu bánh truyền thống"},
		[]string{"chương trình văn nghệ", "tủ sách khu phố", "lớp hát dân ca", "hội thi bánh dân gian"},
		[]string{"đến dự cùng gia đình", "đăng ký tiết mục", "mượn sách bằng thẻ cư dân"},
		[]string{"lễ hội", "thư viện"}},
	{events.Category{ID: "kinh-te", Label: "Kinh tế"},
		[]string{"Phiên chợ hàng Việt", "Hỗ trợ vay vốn cho hộ kinh doanh", "Tập huấn bán hàng trực tuyến"},
		[]string{"nguồn vốn vay ưu đãi", "sức mua tại các chợ", "thu phí sử dụng vỉa hè", "gian hàng trực tuyến"},
		[]string{"nộp phương án kinh doanh", "niêm yết giá rõ ràng", "kê khai thuế trực tuyến"},
		[]string{"hộ kinh doanh", "vay vốn"}},
}

var places = []string{
	"phường Cầu Gỗ", "phường Chợ Mới", "phường Bạch Đằng", "phường Vĩnh Lộc", "phường Thông Xanh",
	"khu phố 3", "khu phố Đình", "đường Trần Phú", "đường Lê Lợi", "bờ kè Bến Sông", "xóm Đáy", "chung cư Hòa Bình",
}

var authors = []string{
	"Ông Đặng Văn Khoa", "Bà Hoàng Thị Yến", "Ông Ngô Quốc Trung", "Bà Lê Thu Hà", "ThS. Bùi Thanh Sơn",
	"BS. Trần Ngọc Diệp", "Bà Phan Thị Hồng", "Ông Võ Thành Đạt",
}
