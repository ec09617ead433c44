// Package bulletintest has an article with everything that a bulletin can say, for tests and
// for the golden bulletins in events/testdata.
package bulletintest

import (
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/site"
)

// Site publishes the article.
var Site = site.Site{ID: "phuong-hoa-mai", Name: "Trang thông tin phường Hoa Mai", URL: "https://hoamai.example.vn/"}

var hanoi = time.FixedZone("", 7*60*60)

// Live is the article in its first version.
func Live() *article.Article {
	latitude, longitude := 10.7769, 106.7009
	expires := time.Date(2026, 12, 31, 0, 0, 0, 0, hanoi)
	at := time.Date(2026, 11, 24, 8, 30, 0, 0, hanoi)
	return &article.Article{
		GUID: "urn:uuid:2c5ea4c0-4067-5a0b-8b1c-1d0f5f0f9a11", Site: Site.ID, ID: "2026-1142",
		Version: article.Version{Number: 1}, Status: events.StatusLive,
		URL:     "https://hoamai.example.vn/tin/lich-tiem-chung-thang-12",
		Title:   "Phường Hoa Mai thông báo lịch tiêm chủng tháng 12 & mùa khô",
		Summary: "Trạm y tế phường tiêm chủng miễn phí cho trẻ dưới 5 tuổi vào các sáng thứ Bảy.",
		Body: `<p>Trạm y tế phường tiêm chủng <strong>miễn phí</strong> cho trẻ dưới 5 tuổi vào các sáng thứ Bảy.</p>` +
			`<figure><img src="https://loa.example.vn/media/5d1f/w640.webp" alt="Tiêm cho trẻ" width="640" height="427"/></figure>`,
		Language:   "vi",
		Authors:    []events.Author{{Name: "Nguyễn Thị Lan", Email: "lan@hoamai.example.vn", URL: "https://hoamai.example.vn/lan"}, {Name: "Trần Minh"}},
		Categories: []events.Category{{ID: "y-te", Label: "Y tế"}}, Tags: []string{"tiêm chủng", "trẻ em"}, Urgency: 4,
		Published: at, Updated: at, ExpiresAt: &expires, Accepted: at.Add(2 * time.Second).UTC(),
		Source: &events.Source{Name: "Sở Y tế", URL: "https://soyte.example.vn/881"},
		Places: []events.Place{{Name: "Phường Hoa Mai", Code: "26734", Latitude: &latitude, Longitude: &longitude}, {Name: "Chợ Hoa Mai"}},
		Rights: &events.Rights{Copyright: "© 2026 UBND phường Hoa Mai", UsageTerms: "Ghi rõ nguồn khi đăng lại."},
		Images: []article.Image{
			picture("5d1f", events.RoleLead, "Tiêm cho trẻ", "Sáng 22/11 tại trạm y tế.", "Trần Minh"),
			picture("7c20", events.RoleGallery, "Hàng ghế chờ", "", ""),
			{Image: events.Image{Role: events.RoleGallery, Alt: "Chưa tải được"}, Pending: true},
		},
		Attachments: []article.Attachment{{Attachment: events.Attachment{URL: "https://hoamai.example.vn/tep/lich-tiem.pdf", Title: "Lịch tiêm (PDF)",
			MediaType: "application/pdf", Size: 182044}}},
	}
}

func picture(hash, role, alt, caption, credit string) article.Image {
	base := "https://loa.example.vn/media/" + hash
	return article.Image{
		Image: events.Image{Role: role, Alt: alt, Caption: caption, Credit: credit}, SHA256: hash,
		Original: events.Rendition{URL: base + "/original.jpg", MediaType: "image/jpeg", Width: 4000, Height: 2667, Size: 3104512},
		Renditions: []events.Rendition{
			{URL: base + "/w320.webp", MediaType: "image/webp", Width: 320, Height: 213, Size: 14200},
			{URL: base + "/w640.webp", MediaType: "image/webp", Width: 640, Height: 427, Size: 41310},
		},
	}
}

// Updated is the second version.
func Updated() *article.Article {
	a := Live()
	a.Number, a.Title = 2, "Phường Hoa Mai thông báo lịch tiêm chủng tháng 12 (bổ sung)"
	return later(a, 3*time.Hour)
}

// Corrected is the third version.
func Corrected() *article.Article {
	a := Updated()
	a.Number, a.Correction = 3, "Bản trước ghi nhầm giờ bắt đầu là 8 giờ; đúng là 7 giờ 30."
	return later(a, time.Hour)
}

// Withdrawn is the fourth version, by which the article goes.
func Withdrawn() *article.Article {
	a := gone(Corrected())
	a.Number = 4
	a.Withdrawal = &events.BulletinWithdrawal{
		Reason:      "Bài viết được thay bằng thông báo mới.",
		RedirectURL: "https://hoamai.example.vn/tin/lich-tiem-chung-moi", WithdrawnAt: a.Updated.Add(24 * time.Hour),
	}
	a.Accepted = a.Withdrawal.WithdrawnAt.Add(2 * time.Second).UTC()
	return a
}

// Expired is the revision of the third version that Loa itself made when its time was over.
func Expired() *article.Article {
	a := Corrected()
	at := *a.ExpiresAt
	a = gone(a)
	a.Revision, a.Expired = 1, true
	a.Withdrawal = &events.BulletinWithdrawal{Reason: "Hết thời hạn đăng.", WithdrawnAt: at}
	a.Accepted = at.UTC()
	return a
}

// gone takes the content from an article, as intake does.
func gone(a *article.Article) *article.Article {
	return &article.Article{
		GUID: a.GUID, Site: a.Site, ID: a.ID, Version: a.Version, Status: events.StatusWithdrawn, URL: a.URL, Title: a.Title,
		Language: a.Language, Categories: a.Categories, Tags: a.Tags, Urgency: a.Urgency, Published: a.Published, Updated: a.Updated,
	}
}

func later(a *article.Article, by time.Duration) *article.Article {
	a.Updated = a.Updated.Add(by)
	a.Accepted = a.Updated.Add(2 * time.Second).UTC()
	return a
}
