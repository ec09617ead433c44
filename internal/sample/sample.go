// Package sample is a city that does not exist, An Hòa, with its portals, articles and
// pictures: what the demo publishes, the benchmarks measure with and the tests read.
//
//	Sites      the city, two areas of it, two wards of one of these
//	Articles   fourteen notices and stories, as their files in articles/ have them
//	Updated, Corrected, Withdrawn
//	           what the CMS says later about three of them; files in later/
//	Many       any number of further articles, made of phrases
//	Pictures   what the articles show, drawn when first wanted; Handler serves them
//
// Nothing depends on the clock, on chance or on the number of processors: the same build
// gives the same articles and the same bytes. The files are in the form of package
// frontmatter, so `loa publish` takes them too.
package sample

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/frontmatter"
)

// Base is the moment at which the samples are written: nothing was published, updated or
// withdrawn after it.
var Base = time.Date(2026, time.November, 20, 9, 0, 0, 0, time.FixedZone("", 7*60*60))

// Site is a portal that publishes.
type Site struct {
	ID   string
	Name string
	// Parent is the ID of the site above it; empty for the city.
	Parent string
	URL    string
}

// Ids of the sites.
const (
	City     = "thanh-pho-an-hoa"
	BenSong  = "quan-ben-song"
	DoiThong = "quan-doi-thong"
	CauGo    = "phuong-cau-go"
	ChoMoi   = "phuong-cho-moi"
)

// Sites lists the sites of the city, a parent before its children.
func Sites() []Site {
	return []Site{
		{City, "Cổng thông tin điện tử TP. An Hòa", "", "https://anhoa.example/"},
		{BenSong, "Quận Bến Sông", City, "https://bensong.anhoa.example/"},
		{DoiThong, "Quận Đồi Thông", City, "https://doithong.anhoa.example/"},
		{CauGo, "Phường Cầu Gỗ", BenSong, "https://caugo.anhoa.example/"},
		{ChoMoi, "Phường Chợ Mới", BenSong, "https://chomoi.anhoa.example/"},
	}
}

//go:embed articles later
var files embed.FS

// ArticleFiles holds the articles as `loa publish` reads them, by file name; their pictures
// are in [Files].
func ArticleFiles() fs.FS {
	sub, err := fs.Sub(files, "articles")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// Articles gives the articles in the order of their publication. Their pictures have
// addresses below imageBase, the root of a server that answers as [Handler] does, such as
// http://127.0.0.1:8090; with an empty imageBase, below the publishing site's own. One
// article carries its picture as inline data instead.
func Articles(imageBase string) []events.Article {
	entries, err := fs.ReadDir(files, "articles")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	var articles []events.Article
	for _, entry := range entries {
		articles = append(articles, read(path.Join("articles", entry.Name()), imageBase))
	}
	slices.SortStableFunc(articles, func(a, b events.Article) int { return a.Published.Compare(b.Published) })
	return articles
}

// Updated is version 2 of an article: the road works on Trần Phú progress, and there is
// another lead image.
func Updated(imageBase string) events.Article {
	return read("later/sua-duong-tran-phu.html", imageBase)
}

// Corrected is version 2 of an article, with a note to readers: the market's opening hours
// were wrong.
func Corrected(imageBase string) events.Article {
	return read("later/cho-moi-mo-lai.html", imageBase)
}

// Withdrawn withdraws an article for good: the water will not be cut after all.
func Withdrawn() events.Withdrawal {
	return events.Withdrawal{
		Site:    BenSong,
		ID:      "BS/2026/0317",
		Version: 2,
		Reason: "Công ty Cấp nước Bến Sông đã hoãn đợt thay van đêm 21/11/2026. " +
			"Lịch mới sẽ được thông báo sau.",
		Status:      events.WithdrawnGone,
		WithdrawnAt: Base.Add(-20 * time.Minute),
	}
}

// read gives the article of an embedded file. The package's tests read every one, so that a
// fault in them is a broken build.
func read(name, imageBase string) events.Article {
	data, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	article, local, err := frontmatter.Parse(name, data)
	if err != nil {
		panic(err)
	}
	if imageBase == "" {
		imageBase = siteURL(article.Site)
	}
	var inline, linked []frontmatter.LocalImage
	for _, l := range local {
		if article.Images[l.Index].ContentID != "" {
			inline = append(inline, l)
		} else {
			linked = append(linked, l)
		}
	}
	if err := frontmatter.Embed(&article, inline, Files()); err != nil {
		panic(fmt.Errorf("%s: %w", name, err))
	}
	frontmatter.Link(&article, linked, func(file string) string {
		return strings.TrimSuffix(imageBase, "/") + PicturePath + file
	})
	return article
}

func siteURL(id string) string {
	for _, site := range Sites() {
		if site.ID == id {
			return site.URL
		}
	}
	panic("no sample site " + id)
}
