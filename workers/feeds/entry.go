package feeds

import (
	"cmp"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	gorilla "github.com/gorilla/feeds"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/portal"
)

// Limits of what one entry may hold, whatever the log holds: intake's limits are narrower, or
// the same.
const (
	maxTitle       = 300  // runes; display cuts far earlier
	maxSummary     = 2000 // runes
	maxName        = 200  // runes: of people, categories, places, credits
	maxNote        = 2000 // runes: of corrections and rights
	maxID          = 300  // runes
	maxPeople      = 20
	maxLabels      = 40 // categories and tags
	maxMedia       = 20 // pictures and attachments
	maxPlaces      = 20
	largestPicture = 1280
)

// zone is the offset in which times are written: Vietnam's, which has had no other since 1975.
var zone = time.FixedZone("", 7*60*60)

// entry is an article as every format shows it: text cleaned and cut, addresses absolute.
type entry struct {
	id, url, title, language string
	summary                  string // plain text
	content                  string // HTML; empty in a brief, and when there is only a summary
	note                     string // HTML: the correction
	authors                  []events.Author
	publisher                string // the site that it is from, whosever feed shows it
	labels                   []label
	published, updated       time.Time
	// media are the pictures shown beside the text, the lead image first, and the attachments.
	media     []medium
	thumbnail *medium
	rights    string // who owns it
	terms     string // how it may be used
	places    []string
	source    *events.Source
	extension extension
}

// mediaType is the form of one that feeds can name (RFC 6838 §4.2).
var mediaType = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}$`)

// label is a category of a site, which has a term and a scheme, or a tag.
type label struct{ text, term, scheme string }

type medium struct {
	url, mediaType     string
	size               int64 // bytes; 0 when unknown
	width, height      int   // pixels
	picture            bool
	kept               bool // a file of which there is a copy
	title, description string
	credit             string
}

// extension is what Loa's JSON says beyond JSON Feed.
type extension struct {
	Site       string         `json:"site"`
	Publisher  string         `json:"publisher"`
	Version    string         `json:"version"`
	Urgency    int            `json:"urgency,omitzero"`
	Correction string         `json:"correction,omitempty"`
	Rights     string         `json:"rights,omitempty"`
	UsageTerms string         `json:"usage_terms,omitempty"`
	Source     *events.Source `json:"source,omitempty"`
	Places     []string       `json:"places,omitempty"`
	// Withdrawn is set in the stub of a withdrawn article.
	Withdrawn *withdrawal `json:"withdrawn,omitempty"`
}

// entry makes an entry of an article. It depends on nothing but the article and the
// catalog, and not on the feed that shows it.
func (c *Catalog) entry(a *article.Article) *entry {
	of, _ := c.tree.Get(a.Site)
	a = a.WithMedia(c.settings.MediaURL)
	e := &entry{
		id:       article.Text(cmp.Or(a.GUID, article.NewGUID(a.Site, a.ID)), maxID),
		url:      address(a.URL),
		title:    article.Text(a.Title, maxTitle),
		language: a.Language,
		summary:  article.Text(a.Summary, maxSummary),
		labels:   labels(a, of.URL),
		media:    media(a),
		places:   places(a.Places),
	}
	e.publisher = cmp.Or(article.Text(of.Name, maxName), a.Site)
	if !portal.IsLanguage(e.language) {
		e.language = c.settings.Language
	}
	e.title = cmp.Or(e.title, article.Text(e.summary, maxTitle), e.url, e.id)
	e.content = article.Chars(a.Body)
	if note := article.Text(a.Correction, maxNote); note != "" {
		heading := "Correction:"
		if e.vietnamese() {
			heading = "Đính chính:"
		}
		e.note = `<p class="correction"><strong>` + heading + `</strong> ` + html.EscapeString(note) + "</p>\n"
		e.extension.Correction = note
	}
	for _, author := range a.Authors[:min(len(a.Authors), maxPeople)] {
		if name := article.Text(author.Name, maxName); name != "" {
			e.authors = append(e.authors, events.Author{Name: name, URL: address(author.URL)})
		}
	}
	if len(e.authors) == 0 { // else an entry of a subtree's feed would be taken for the work of its root
		e.authors = []events.Author{{Name: e.publisher, URL: address(of.URL)}}
	}
	e.published = moment(a.Published, a.Accepted).In(zone).Truncate(time.Second)
	updated := moment(a.Updated, a.Published, a.Accepted)
	if a.Revision > 0 && a.Accepted.After(updated) {
		updated = moment(a.Accepted, updated) // a late picture; readers look again only at what is newer
	}
	e.updated = updated.In(zone).Truncate(time.Second)
	if i := slices.IndexFunc(a.Images, func(i article.Image) bool { return i.Stored() }); i >= 0 {
		e.thumbnail = thumbnail(a.Lead())
	}
	if a.Rights != nil {
		e.rights, e.terms = article.Text(a.Rights.Copyright, maxNote), article.Text(a.Rights.UsageTerms, maxNote)
	}
	if a.Source != nil {
		if name := article.Text(a.Source.Name, maxName); name != "" {
			e.source = &events.Source{Name: name, URL: address(a.Source.URL)}
		}
	}
	e.extension = extension{
		Site: a.Site, Publisher: e.publisher, Version: a.Version.String(), Urgency: a.Urgency, Correction: e.extension.Correction,
		Rights: e.rights, UsageTerms: e.terms, Source: e.source, Places: e.places,
	}
	return e
}

// brief is the entry without its full content.
func (e *entry) brief() *entry {
	b := *e
	b.content = ""
	return &b
}

// html is the entry's content: the full one, or else its summary. JSON Feed does not allow none.
func (e *entry) html() string {
	if e.content != "" {
		return e.note + e.content
	}
	return e.note + "<p>" + html.EscapeString(cmp.Or(e.summary, e.title)) + "</p>"
}

// item is the entry as far as gorilla/feeds knows entries.
func (e *entry) item() *gorilla.Item {
	i := &gorilla.Item{
		Id: e.id, IsPermaLink: "false", Title: e.title, Link: &gorilla.Link{Href: e.url},
		Description: e.summary, Content: e.html(), Created: e.published, Updated: e.updated,
	}
	if m := e.enclosure(); m != nil {
		i.Enclosure = &gorilla.Enclosure{Url: m.url, Type: m.mediaType, Length: strconv.FormatInt(m.size, 10)}
	}
	return i
}

// attachments are the media as they go with the entry: the enclosure first, so that readers of
// every format take the same for the one they know.
func (e *entry) attachments() []medium {
	first := e.enclosure()
	if first == nil {
		return e.media
	}
	all := []medium{*first}
	for i := range e.media {
		if m := &e.media[i]; m != first {
			all = append(all, *m)
		}
	}
	return all
}

// enclosure is the one medium that RSS allows: a file that goes with the article, which nothing
// else shows, or else the first medium whose size and type are known.
func (e *entry) enclosure() *medium {
	known := func(m medium) bool { return m.size > 0 && m.mediaType != "" }
	i := slices.IndexFunc(e.media, func(m medium) bool { return m.kept && known(m) })
	if i < 0 {
		i = slices.IndexFunc(e.media, known)
	}
	if i < 0 {
		return nil
	}
	return &e.media[i]
}

// address is s if it is an absolute http or https address, else empty.
func address(s string) string {
	s, ok := article.ResolveLink(nil, s)
	if !ok {
		return ""
	}
	return s
}

// moment is the first of the times that every format can write.
func moment(times ...time.Time) time.Time {
	const lastYear = 9998 // whatever the offset, four digits
	for _, t := range times {
		if !t.IsZero() && t.Year() > 0 && t.Year() <= lastYear {
			return t
		}
	}
	return time.Unix(0, 0).UTC()
}

func categoryLabel(c events.Category) string {
	return cmp.Or(article.Text(c.Label, maxName), article.Text(c.ID, maxName))
}

// labels are the categories, then the tags, each text once.
func labels(a *article.Article, siteURL string) []label {
	var all []label
	add := func(l label) {
		same := func(m label) bool { return m.text == l.text }
		if l.text != "" && len(all) < maxLabels && !slices.ContainsFunc(all, same) {
			all = append(all, l)
		}
	}
	for _, c := range a.Categories {
		text := categoryLabel(c)
		// Nothing may be left of an id; Atom must have a term (RFC 4287 §4.2.2.1).
		add(label{text: text, term: cmp.Or(article.Text(c.ID, maxName), text), scheme: address(siteURL)})
	}
	for _, tag := range a.Tags {
		text := article.Text(tag, maxName)
		add(label{text: text, term: text})
	}
	return all
}

func places(all []events.Place) []string {
	var names []string
	for _, p := range all[:min(len(all), maxPlaces)] {
		if name := article.Text(p.Name, maxName); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// media are the lead image, the gallery's, and the attachments. Pictures inside the text are
// part of it.
func media(a *article.Article) []medium {
	var all []medium
	lead := a.Lead()
	if lead != nil {
		all = append(all, picture(lead, shown(lead)))
	}
	for i := range a.Images {
		if img := &a.Images[i]; img.Stored() && img != lead && img.Role == events.RoleGallery {
			all = append(all, picture(img, shown(img)))
		}
	}
	for _, at := range a.Attachments {
		if at.Offered() {
			all = append(all, medium{url: at.URL, mediaType: at.MediaType, size: at.Size, kept: at.SHA256 != "", title: article.Text(at.Title, maxName)})
		}
	}
	kept := all[:0]
	for _, m := range all[:min(len(all), maxMedia)] {
		m.url, m.size = address(m.url), max(m.size, 0)
		if !mediaType.MatchString(m.mediaType) {
			m.mediaType = ""
		}
		if m.url != "" {
			kept = append(kept, m)
		}
	}
	return kept
}

func picture(img *article.Image, r events.Rendition) medium {
	return medium{
		url: r.URL, mediaType: r.MediaType, size: r.Size, width: r.Width, height: r.Height, picture: true,
		description: article.Text(cmp.Or(img.Caption, img.Alt), maxName),
		credit:      article.Text(img.Credit, maxName),
	}
}

// shown is the form of the picture that a reader is offered: the widest rendition that every
// program can decode, or the original.
func shown(img *article.Image) events.Rendition {
	best := img.Original
	for _, r := range img.Renditions {
		if common(r) && r.Width <= largestPicture && (best.URL == img.Original.URL || r.Width > best.Width) {
			best = r
		}
	}
	return best
}

// thumbnail is the narrowest form of the picture.
func thumbnail(img *article.Image) *medium {
	least := shown(img)
	for _, r := range img.Renditions {
		if common(r) && r.Width > 0 && r.Width < least.Width {
			least = r
		}
	}
	m := picture(img, least)
	if m.url = address(m.url); m.url == "" {
		return nil
	}
	return &m
}

// common reports whether programs older than WebP can show the file.
func common(r events.Rendition) bool {
	return r.MediaType == "image/jpeg" || r.MediaType == "image/png" || r.MediaType == "image/gif"
}

// caption is what a medium is called where there is one text for that.
func (m medium) caption() string { return cmp.Or(m.title, m.description) }

// join makes one text of two.
func join(a, b string) string { return strings.TrimSpace(a + " " + b) }
