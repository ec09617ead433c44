package feeds

import (
	"encoding/xml"
	"io"
	"time"

	gorilla "github.com/gorilla/feeds"
)

type atomDocument struct {
	*gorilla.AtomFeed
	Media     string     `xml:"xmlns:media,attr"`
	Terms     string     `xml:"xmlns:dcterms,attr"`
	Withdrawn string     `xml:"xmlns:at,attr,omitempty"`
	History   string     `xml:"xmlns:fh,attr,omitempty"`
	Archive   *struct{}  `xml:"fh:archive"`
	Lang      string     `xml:"xml:lang,attr"`
	Links     []atomLink `xml:"link"`
	Generator string     `xml:"generator"`
	Entries   []byte     `xml:",innerxml"`
	Revision  string     `xml:",comment"`
}

// FeedXml implements [gorilla.XmlFeed].
func (d *atomDocument) FeedXml() any { return d }

type atomEntry struct {
	*gorilla.AtomEntry
	Lang       string                `xml:"xml:lang,attr"`
	Authors    []*gorilla.AtomPerson `xml:"author"`
	Categories []atomCategory        `xml:"category"`
	Links      []atomLink            `xml:"link"`
	Publisher  string                `xml:"dcterms:publisher"`
	Media      []mediaContent        `xml:"media:content"`
	Thumbnail  *mediaThumbnail       `xml:"media:thumbnail"`
}

// atomLink is a link (RFC 4287 §4.2.7).
type atomLink struct {
	Href   string `xml:"href,attr"`
	Rel    string `xml:"rel,attr"`
	Type   string `xml:"type,attr,omitempty"`
	Title  string `xml:"title,attr,omitempty"`
	Length int64  `xml:"length,attr,omitempty"`
}

// atomCategory is a category (RFC 4287 §4.2.2).
type atomCategory struct {
	Term   string `xml:"term,attr"`
	Scheme string `xml:"scheme,attr,omitempty"`
	Label  string `xml:"label,attr"`
}

// atomElement renders an entry.
func atomElement(e *entry) ([]byte, error) {
	base := (&gorilla.Atom{Feed: &gorilla.Feed{Items: []*gorilla.Item{e.item()}}}).AtomFeed().Entries[0]
	base.Links = nil
	base.Published = e.published.Format(time.RFC3339)
	if base.Summary != nil {
		base.Summary.Type = "text"
	}
	base.Rights = e.rights
	if e.terms != "" {
		base.Rights = join(e.rights, e.terms)
	}
	x := atomEntry{AtomEntry: base, Lang: e.language, Publisher: e.publisher, Thumbnail: e.mediaThumbnail()}
	if e.url != "" {
		x.Links = append(x.Links, atomLink{Href: e.url, Rel: "alternate", Type: "text/html"})
	}
	for _, m := range e.attachments() {
		x.Links = append(x.Links, atomLink{Href: m.url, Rel: "enclosure", Type: m.mediaType, Title: m.caption(), Length: m.size})
	}
	if e.source != nil && e.source.URL != "" {
		x.Links = append(x.Links, atomLink{Href: e.source.URL, Rel: "via", Title: e.source.Name})
	}
	for _, a := range e.authors {
		x.Authors = append(x.Authors, &gorilla.AtomPerson{Name: a.Name, Uri: a.URL})
	}
	for _, l := range e.labels {
		x.Categories = append(x.Categories, atomCategory{Term: l.term, Scheme: l.scheme, Label: l.text})
	}
	for _, m := range e.mediaContents() {
		if m.Medium == "image" { // of others, links say all there is
			x.Media = append(x.Media, m)
		}
	}
	return xml.MarshalIndent(x, "  ", "  ")
}

// writeAtom writes the document that holds the entries.
func writeAtom(w io.Writer, d *document, entries [][]byte) error {
	feed := (&gorilla.Atom{Feed: d.gorilla()}).AtomFeed()
	feed.Id = d.id
	feed.Icon = d.image
	feed.Author = &gorilla.AtomAuthor{AtomPerson: gorilla.AtomPerson{Name: d.publisher, Uri: d.home}}
	links := d.links(formatAtom, atomType)
	if d.home != "" {
		links = append([]atomLink{{Href: d.home, Rel: "alternate", Type: "text/html"}}, links...)
	}
	entries = append(entries, d.tombstones...)
	doc := &atomDocument{
		AtomFeed: feed, Media: nsMedia, Terms: nsTerms, Lang: d.language, Links: links, Generator: generator,
		Entries: placeFor(entries), Revision: d.revisionNote(),
	}
	if len(d.tombstones) > 0 {
		doc.Withdrawn = nsTombstones
	}
	if d.archive {
		doc.History, doc.Archive = nsHistory, &struct{}{}
	}
	return writeXML(w, doc, entries)
}
