// Package bulletin makes the documents in which portals are told of one article: the bulletin
// itself, with a summary or with the whole article, and the same as ninjs and as Atom.
//
// They depend on the article and its site alone, so one document serves all portals that want
// the same form; what differs between portals is in the headers.
package bulletin

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/atom"
	"github.com/loa-syndication/loa/internal/ninjs"
	"github.com/loa-syndication/loa/internal/site"
)

// Form is what a portal wants its bulletins to look like.
type Form int

// The forms.
const (
	Summary Form = iota // a bulletin with the article's summary
	Full                // a bulletin with the whole article
	Ninjs               // a ninjs item in an envelope
	Atom                // an Atom entry, or its tombstone

	Forms // how many there are
)

// String names the form in messages.
func (f Form) String() string {
	return [...]string{"bulletin", "bulletin with full content", "ninjs", "atom"}[f]
}

// Document is the body of a POST.
type Document struct {
	Body        []byte
	ContentType string
}

// Render makes the document of an article, whose pictures have absolute addresses, of a site.
// Where a form that holds the whole article would be larger than [events.MaxBulletinBytes], it
// holds the summary and says so: a reader who follows the link reads all of it, while a portal
// that gets nothing shows nothing.
func Render(a *article.Article, of site.Site, f Form) (Document, error) {
	d, err := render(a, of, f, false)
	if err == nil && len(d.Body) > events.MaxBulletinBytes && f != Summary {
		d, err = render(a, of, f, true)
	}
	if err != nil {
		return Document{}, fmt.Errorf("make %s of article %s/%s, version %s: %w", f, a.Site, a.ID, a.Version, err)
	}
	if len(d.Body) > events.MaxBulletinBytes {
		return Document{}, fmt.Errorf("%s of article %s/%s, version %s: %d bytes, at most %d can be sent",
			f, a.Site, a.ID, a.Version, len(d.Body), events.MaxBulletinBytes)
	}
	return d, nil
}

func render(a *article.Article, of site.Site, f Form, brief bool) (Document, error) {
	switch f {
	case Atom:
		return asAtom(a, of, brief)
	case Ninjs:
		return asNinjs(a, of, brief)
	}
	b := New(a, of.Name)
	if f == Full && a.Live() {
		if b.Data.BodyOmitted = brief; !brief {
			complete(&b.Data, a)
		}
	}
	return JSON(b)
}

// New summarises the article, whose pictures have absolute addresses.
func New(a *article.Article, siteName string) events.Bulletin {
	b := events.Bulletin{Type: kind(a), Timestamp: a.Accepted, Data: events.BulletinArticle{
		GUID: a.GUID, Site: a.Site, ID: a.ID, Version: a.Number, Revision: a.Revision, Status: a.Status,
		Title: a.Title, URL: a.URL, Language: a.Language, SiteName: siteName,
		Categories: a.Categories, Tags: a.Tags, Urgency: a.Urgency,
		Published: a.Published, Updated: a.Updated, ExpiresAt: a.ExpiresAt,
	}}
	if !a.Live() {
		b.Data.Withdrawal = a.Withdrawal
		return b
	}
	b.Data.Summary, b.Data.Correction = a.Summary, a.Correction
	b.Data.Authors, b.Data.Source, b.Data.Places, b.Data.Rights = a.Authors, a.Source, a.Places, a.Rights
	if lead := a.Lead(); lead != nil {
		img := image(lead)
		b.Data.Image = &img
	}
	return b
}

// complete adds what a summary leaves out.
func complete(d *events.BulletinArticle, a *article.Article) {
	d.Body, d.Attachments = a.Body, a.Offered()
	lead := a.Lead()
	for i := range a.Images {
		if img := &a.Images[i]; img != lead && img.Stored() && img.Role == events.RoleGallery {
			d.Gallery = append(d.Gallery, image(img))
		}
	}
}

func image(i *article.Image) events.BulletinImage {
	return events.BulletinImage{Rendition: i.Original, Alt: i.Alt, Caption: i.Caption, Credit: i.Credit, Renditions: i.Renditions}
}

func kind(a *article.Article) string {
	if a.Live() {
		return events.BulletinPublished
	}
	return events.BulletinWithdrawn
}

func asNinjs(a *article.Article, of site.Site, brief bool) (Document, error) {
	item, err := ninjs.New(a, of, brief).Encode()
	if err != nil {
		return Document{}, err
	}
	return JSON(events.NinjsBulletin{Type: kind(a), Timestamp: a.Accepted, Data: events.NinjsArticle{
		GUID: a.GUID, Site: a.Site, ID: a.ID, Version: a.Number, Revision: a.Revision, Status: a.Status,
		Withdrawal: a.Withdrawal, Ninjs: item,
	}})
}

func asAtom(a *article.Article, of site.Site, brief bool) (Document, error) {
	if !a.Live() {
		body, err := atom.Tombstone(a, of)
		return Document{body, events.AtomDeletedType}, err
	}
	body, err := atom.Entry(a, of, brief)
	return Document{body, events.AtomEntryType}, err
}

// JSON makes the document of a bulletin or a digest. It does not escape the HTML in it, which
// would make a body of many tags twice as large.
func JSON(v any) (Document, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return Document{}, err
	}
	return Document{bytes.TrimSuffix(b.Bytes(), []byte("\n")), events.JSONType}, nil
}
