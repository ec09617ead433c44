// Package atom writes and reads articles as Atom entries that stand alone (RFC 4287 §2), and
// withdrawals as tombstones (RFC 6721 §3). Feeds are in workers/feeds; this is what a portal is
// sent that already reads Atom.
//
// Atom orders the versions of an entry by "updated", which two versions may share and a clock
// may turn back. So both documents carry the article's version and revision in a namespace of
// Loa's, beside what else Atom has no element for; a reader that does not know it may ignore it.
package atom

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/site"
)

// namespace is that of Loa's elements. It is a name: nothing need be found there.
const namespace = "https://github.com/loa-syndication/loa/ns/bulletin/1"

// Link is a link (RFC 4287 §4.2.7).
type Link struct {
	Href   string `xml:"href,attr"`
	Rel    string `xml:"rel,attr"`
	Type   string `xml:"type,attr,omitempty"`
	Title  string `xml:"title,attr,omitempty"`
	Length int64  `xml:"length,attr,omitempty"`
}

// Category is a category (RFC 4287 §4.2.2).
type Category struct {
	Term   string `xml:"term,attr"`
	Scheme string `xml:"scheme,attr,omitempty"`
	Label  string `xml:"label,attr"`
}

// Relations of links.
const (
	relAlternate = "alternate"
	relEnclosure = "enclosure"
	relVia       = "via"
	relSuccessor = "successor-version" // RFC 5829 §3.4

	typeHTML = "text/html"
)

// tagScheme tells free keywords from a site's categories, whose scheme is the site's address.
const tagScheme = namespace + "#tag"

// entry is written and read by the same tags: an element of another vocabulary declares its
// namespace itself.
type entry struct {
	XMLName    xml.Name   `xml:"http://www.w3.org/2005/Atom entry"`
	Lang       string     `xml:"http://www.w3.org/XML/1998/namespace lang,attr,omitempty"`
	ID         string     `xml:"id"`
	Title      text       `xml:"title"`
	Updated    string     `xml:"updated"`
	Published  string     `xml:"published"`
	Authors    []person   `xml:"author"`
	Categories []Category `xml:"category"`
	Links      []Link     `xml:"link"`
	Rights     *text      `xml:"rights"`
	Summary    *text      `xml:"summary"`
	Content    *content   `xml:"content"`
	Pictures   []group    `xml:"http://search.yahoo.com/mrss/ group"`
	State      state      `xml:"https://github.com/loa-syndication/loa/ns/bulletin/1 state"`
}

// tombstone says that an entry was deleted (RFC 6721 §3).
type tombstone struct {
	XMLName xml.Name `xml:"http://purl.org/atompub/tombstones/1.0 deleted-entry"`
	Lang    string   `xml:"http://www.w3.org/XML/1998/namespace lang,attr,omitempty"`
	Ref     string   `xml:"ref,attr"`
	When    string   `xml:"when,attr"`
	By      by       `xml:"by"`
	Comment string   `xml:"comment"`
	Links   []Link   `xml:"http://www.w3.org/2005/Atom link"`
	State   state    `xml:"https://github.com/loa-syndication/loa/ns/bulletin/1 state"`
}

type by struct {
	Name string `xml:"http://www.w3.org/2005/Atom name"`
}

// state is what Atom has no element for.
type state struct {
	Site       string  `xml:"site"`
	SiteName   string  `xml:"site-name,omitempty"`
	Article    string  `xml:"article"`
	Version    int64   `xml:"version"`
	Revision   int64   `xml:"revision"`
	Accepted   string  `xml:"accepted"` // when this version entered the log
	Title      string  `xml:"title,omitempty"`
	Published  string  `xml:"published,omitempty"`
	Updated    string  `xml:"updated,omitempty"`
	Urgency    int     `xml:"urgency,omitempty"`
	Expires    string  `xml:"expires,omitempty"`
	Correction string  `xml:"correction,omitempty"`
	UsageTerms string  `xml:"usage-terms,omitempty"`
	Places     []place `xml:"place"`
}

type place struct {
	Code      string   `xml:"code,attr,omitempty"`
	Latitude  *float64 `xml:"latitude,attr,omitempty"`
	Longitude *float64 `xml:"longitude,attr,omitempty"`
	Name      string   `xml:",chardata"`
}

type text struct {
	Type  string `xml:"type,attr"`
	Value string `xml:",chardata"`
}

// content is the article's body, or where it is (RFC 4287 §4.1.3.2).
type content struct {
	Type  string `xml:"type,attr"`
	Src   string `xml:"src,attr,omitempty"`
	Value string `xml:",chardata"`
}

type person struct {
	Name  string `xml:"name"`
	URI   string `xml:"uri,omitempty"`
	Email string `xml:"email,omitempty"`
}

// group is a picture in all its forms, the original first. Its title is the alternative text.
type group struct {
	Forms       []media `xml:"content"`
	Title       string  `xml:"title,omitempty"`
	Description string  `xml:"description,omitempty"`
	Credit      string  `xml:"credit,omitempty"`
}

type media struct {
	URL    string `xml:"url,attr"`
	Type   string `xml:"type,attr,omitempty"`
	Medium string `xml:"medium,attr"`
	Width  int    `xml:"width,attr,omitempty"`
	Height int    `xml:"height,attr,omitempty"`
	Size   int64  `xml:"fileSize,attr,omitempty"`
}

// Entry writes a live article of a site, whose pictures have absolute addresses. A brief one
// has, in the place of its content, the address where that is, and only the lead picture.
func Entry(a *article.Article, of site.Site, brief bool) ([]byte, error) {
	e := entry{
		Lang: a.Language, ID: a.GUID, Title: text{"text", article.Chars(cmp.Or(a.Title, a.URL))},
		Published: stamp(a.Published), Updated: stamp(a.Updated), State: newState(a, of),
	}
	if a.Revision > 0 && a.Accepted.After(a.Updated) {
		e.Updated = stamp(a.Accepted) // Updated is the CMS's; readers look again only at what is newer
	}
	for _, author := range a.Authors {
		e.Authors = append(e.Authors, person{article.Chars(author.Name), address(author.URL), author.Email})
	}
	if len(e.Authors) == 0 { // an entry has one (RFC 4287 §4.1.2)
		e.Authors = []person{{Name: cmp.Or(article.Chars(of.Name), a.Site), URI: address(of.URL)}}
	}
	for _, c := range a.Categories {
		e.Categories = append(e.Categories, Category{c.ID, address(of.URL), article.Chars(cmp.Or(c.Label, c.ID))})
	}
	for _, tag := range a.Tags {
		tag = article.Chars(tag)
		e.Categories = append(e.Categories, Category{tag, tagScheme, tag})
	}
	e.Links = link(relAlternate, a.URL, typeHTML, "", 0)
	if a.Source != nil {
		e.Links = append(e.Links, link(relVia, a.Source.URL, "", a.Source.Name, 0)...)
	}
	if a.Rights != nil && a.Rights.Copyright != "" {
		e.Rights = &text{"text", article.Chars(a.Rights.Copyright)}
	}
	if a.Summary != "" || brief {
		e.Summary = &text{"text", article.Chars(a.Summary)}
	}
	lead := a.Lead()
	e.picture(lead)
	if brief {
		if page := address(a.URL); page != "" {
			e.Content = &content{Type: typeHTML, Src: page}
		}
		return encode(e)
	}
	if a.Body != "" {
		e.Content = &content{Type: "html", Value: article.Chars(a.Body)}
	}
	for i := range a.Images {
		if img := &a.Images[i]; img != lead && img.Role == events.RoleGallery {
			e.picture(img)
		}
	}
	for _, file := range a.Offered() {
		e.Links = append(e.Links, link(relEnclosure, file.URL, file.MediaType, file.Title, file.Size)...)
	}
	return encode(e)
}

// picture adds a picture, which may be nil, if it is stored.
func (e *entry) picture(img *article.Image) {
	if img == nil || !img.Stored() || address(img.Original.URL) == "" {
		return
	}
	o := img.Original
	e.Links = append(e.Links, link(relEnclosure, o.URL, o.MediaType, cmp.Or(img.Caption, img.Alt), o.Size)...)
	g := group{Title: article.Chars(img.Alt), Description: article.Chars(img.Caption), Credit: article.Chars(img.Credit)}
	for _, r := range append([]events.Rendition{o}, img.Renditions...) {
		g.Forms = append(g.Forms, media{address(r.URL), r.MediaType, "image", r.Width, r.Height, r.Size})
	}
	e.Pictures = append(e.Pictures, g)
}

// Tombstone writes that an article of a site was withdrawn.
func Tombstone(a *article.Article, of site.Site) ([]byte, error) {
	t := tombstone{
		Lang: a.Language, Ref: a.GUID, When: stamp(a.Updated), By: by{cmp.Or(article.Chars(of.Name), a.Site)}, State: newState(a, of),
		Links: link(relAlternate, a.URL, typeHTML, "", 0),
	}
	t.State.Title, t.State.Published, t.State.Updated = article.Chars(a.Title), stamp(a.Published), stamp(a.Updated)
	if w := a.Withdrawal; w != nil {
		t.When, t.Comment = stamp(w.WithdrawnAt), article.Chars(w.Reason)
		t.Links = append(t.Links, link(relSuccessor, w.RedirectURL, typeHTML, "", 0)...)
	}
	return encode(t)
}

func newState(a *article.Article, of site.Site) state {
	s := state{
		Site: a.Site, SiteName: article.Chars(of.Name), Article: article.Chars(a.ID), Version: a.Number, Revision: a.Revision,
		Accepted: a.Accepted.Format(time.RFC3339Nano), Urgency: a.Urgency,
	}
	if !a.Live() {
		return s
	}
	s.Correction = article.Chars(a.Correction)
	if a.ExpiresAt != nil {
		s.Expires = stamp(*a.ExpiresAt)
	}
	if a.Rights != nil {
		s.UsageTerms = article.Chars(a.Rights.UsageTerms)
	}
	for _, p := range a.Places {
		s.Places = append(s.Places, place{article.Chars(p.Code), p.Latitude, p.Longitude, article.Chars(p.Name)})
	}
	return s
}

// link is none if there is no address.
func link(rel, href, mediaType, title string, length int64) []Link {
	if href = address(href); href == "" {
		return nil
	}
	return []Link{{Href: href, Rel: rel, Type: mediaType, Title: article.Chars(title), Length: length}}
}

// address is s if it is an absolute http or https address, in ASCII.
func address(s string) string {
	s, _ = article.ResolveLink(nil, s)
	return s
}

func stamp(t time.Time) string { return t.Format(time.RFC3339) }

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	enc := xml.NewEncoder(&b)
	enc.Indent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}
