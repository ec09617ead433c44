package feeds

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
)

// maxGallery bounds how many pictures of one article a gallery shows: at 2 KB each in the largest
// of the formats, they stay far below what a feed may have.
const maxGallery = 50

// picturesSpace is the name space of the identifiers of galleries' entries (RFC 9562 §5.5).
var picturesSpace = uuid.MustParse("6f1e6c1e-5d0b-5b0e-9a3c-6c6f61000004")

// gallery makes an entry of each picture that the article shows in its site's gallery, in the
// article's order. Each leads to the article, and keeps its identity as long as the article shows it.
func (c *Catalog) gallery(a *article.Article) []*entry {
	about := c.entry(a).brief()
	about.note, about.thumbnail = "", nil
	a = a.WithMedia(c.settings.MediaURL)
	var all []*entry
	seen := map[string]bool{}
	for i := range a.Images {
		img := &a.Images[i]
		if img.Role != events.RoleGallery || !img.Stored() || seen[img.SHA256] || len(all) == maxGallery {
			continue
		}
		seen[img.SHA256] = true
		m := picture(img, shown(img))
		if m.url = address(m.url); m.url == "" {
			continue
		}
		e := *about
		e.id = pictureID(about, img.SHA256)
		// A second apart, readers who sort by time keep the order.
		apart := time.Duration(len(all)) * time.Second
		e.published, e.updated = about.published.Add(-apart), about.updated.Add(-apart)
		e.title = cmp.Or(article.Text(img.Caption, maxTitle), article.Text(img.Alt, maxTitle), about.title)
		e.summary = cmp.Or(article.Text(img.Caption, maxSummary), article.Text(img.Alt, maxSummary))
		e.content = figure(about, img, m)
		if m.credit != "" {
			e.authors = []events.Author{{Name: m.credit}}
		}
		e.media, e.thumbnail = []medium{m}, thumbnail(img)
		all = append(all, &e)
	}
	return all
}

// pictureID is the identifier of the entry of an article's picture.
func pictureID(about *entry, picture string) string {
	return uuid.NewSHA1(picturesSpace, []byte(about.id+" "+picture)).URN()
}

// galleryStubs make an entry of each picture that the article showed before it was withdrawn.
func (c *Catalog) galleryStubs(a *article.Article) []*entry {
	about := c.stub(a)
	var all []*entry
	for _, picture := range a.Gallery[:min(len(a.Gallery), maxGallery)] {
		e, w := *about, *about.extension.Withdrawn
		e.id = pictureID(about, picture)
		w.ID, e.extension.Withdrawn = e.id, &w
		all = append(all, &e)
	}
	return all
}

// figure is the picture as HTML: with its caption and credit, and the article that it belongs to.
func figure(about *entry, img *article.Image, m medium) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<figure><img src="%s" alt="%s"`, html.EscapeString(m.url), html.EscapeString(article.Text(img.Alt, maxTitle)))
	if m.width > 0 && m.height > 0 {
		b.WriteString(` width="` + strconv.Itoa(m.width) + `" height="` + strconv.Itoa(m.height) + `"`)
	}
	b.WriteString("/><figcaption>")
	if caption := article.Text(img.Caption, maxSummary); caption != "" {
		b.WriteString(html.EscapeString(caption) + " ")
	}
	if m.credit != "" {
		b.WriteString("<small>" + html.EscapeString(m.credit) + "</small> ")
	}
	if about.url != "" {
		fmt.Fprintf(&b, `<a href="%s">%s</a>`, html.EscapeString(about.url), html.EscapeString(about.title))
	}
	b.WriteString("</figcaption></figure>")
	return b.String()
}

// galleryItem is what a gallery shows of an article: the entries of its pictures, one after the other,
// or the stubs of those that it had.
func (c *Catalog) galleryItem(a *article.Article, seq uint64) (*item, error) {
	it := &item{seq: seq, entry: &entry{}}
	entries := c.gallery(a)
	if !a.Live() {
		entries = c.galleryStubs(a)
	}
	for i, e := range entries {
		one, err := e.render()
		if err != nil {
			return nil, err
		}
		for f := range formats {
			if i > 0 {
				it.full[f] = append(it.full[f], formats[f].between...)
			}
			it.full[f] = append(it.full[f], one[f]...)
		}
		if a.Live() {
			continue
		}
		tombs, err := e.tombstones()
		if err != nil {
			return nil, err
		}
		it.tombs = append(it.tombs, tombs)
	}
	return it, nil
}
