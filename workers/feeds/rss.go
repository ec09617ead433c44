package feeds

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"time"

	gorilla "github.com/gorilla/feeds"
)

// Name spaces of the elements that RSS 2.0 itself has not.
const (
	nsAtom    = "http://www.w3.org/2005/Atom"
	nsContent = "http://purl.org/rss/1.0/modules/content/"
	nsDC      = "http://purl.org/dc/elements/1.1/"
	nsTerms   = "http://purl.org/dc/terms/"
)

// The types below extend gorilla/feeds by embedding: a field here takes the place of the
// embedded one of the same element.

type rssDocument struct {
	XMLName xml.Name `xml:"rss"`
	Version string   `xml:"version,attr"`
	Atom    string   `xml:"xmlns:atom,attr"`
	Content string   `xml:"xmlns:content,attr"`
	DC      string   `xml:"xmlns:dc,attr"`
	Terms   string   `xml:"xmlns:dcterms,attr"`
	Media   string   `xml:"xmlns:media,attr"`
	Channel rssChannel
}

// FeedXml implements [gorilla.XmlFeed].
func (d *rssDocument) FeedXml() any { return d }

type rssChannel struct {
	*gorilla.RssFeed
	Links    []atomLink `xml:"atom:link"`
	Items    []byte     `xml:",innerxml"`
	Revision string     `xml:",comment"`
}

type rssItem struct {
	*gorilla.RssItem
	Link       string        `xml:"link,omitempty"` // an empty one is no address
	Creators   []string      `xml:"dc:creator"`
	Categories []rssCategory `xml:"category"`
	Updated    string        `xml:"atom:updated"`
	// What state portals read (TCVN 7980), beside what news readers do.
	TermCreators []string        `xml:"dcterms:creator"`
	Publisher    string          `xml:"dcterms:publisher"`
	Created      string          `xml:"dcterms:created"`
	Modified     string          `xml:"dcterms:modified"`
	Language     string          `xml:"dc:language,omitempty"`
	Rights       string          `xml:"dc:rights,omitempty"`
	TermRights   string          `xml:"dcterms:rights,omitempty"`
	Terms        string          `xml:"dcterms:accessRights,omitempty"`
	Source       string          `xml:"dc:source,omitempty"`
	Places       []string        `xml:"dcterms:spatial"`
	Media        []mediaContent  `xml:"media:content"`
	Thumbnail    *mediaThumbnail `xml:"media:thumbnail"`
}

type rssCategory struct {
	Domain string `xml:"domain,attr,omitempty"`
	Text   string `xml:",chardata"`
}

// plainHTML writes plain text as the HTML that RSS takes a description for: a reader that
// shows it as such shows the text, and finds no markup in it.
var plainHTML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// rssElement renders an item.
func rssElement(e *entry) ([]byte, error) {
	base := (&gorilla.Rss{Feed: &gorilla.Feed{Items: []*gorilla.Item{e.item()}}}).RssFeed().Items[0]
	base.Description = plainHTML.Replace(base.Description)
	base.PubDate = e.published.Format(time.RFC1123Z)
	item := rssItem{
		RssItem:    base,
		Link:       base.Link,
		Updated:    e.updated.Format(time.RFC3339),
		Created:    e.published.Format(time.RFC3339),
		Modified:   e.updated.Format(time.RFC3339),
		Language:   e.language,
		Rights:     e.rights,
		TermRights: e.rights,
		Publisher:  e.publisher,
		Terms:      e.terms,
		Places:     e.places,
		Media:      e.mediaContents(),
		Thumbnail:  e.mediaThumbnail(),
	}
	for _, a := range e.authors {
		item.Creators = append(item.Creators, a.Name)
	}
	item.TermCreators = item.Creators
	for _, l := range e.labels {
		item.Categories = append(item.Categories, rssCategory{Domain: l.scheme, Text: l.text})
	}
	if e.source != nil {
		item.Source = e.source.Name
		if e.source.URL != "" {
			item.Source = e.source.URL
		}
	}
	return xml.MarshalIndent(item, "    ", "  ")
}

// writeRSS writes the document that holds the items.
func writeRSS(w io.Writer, d *document, items [][]byte) error {
	channel := (&gorilla.Rss{Feed: d.gorilla()}).RssFeed()
	channel.PubDate = "" // the feed was not published at one time
	channel.Language = d.language
	channel.Ttl = int(d.ttl / time.Minute)
	channel.Generator = generator
	return writeXML(w, &rssDocument{
		Version: "2.0", Atom: nsAtom, Content: nsContent, DC: nsDC, Terms: nsTerms, Media: nsMedia,
		Channel: rssChannel{RssFeed: channel, Links: d.links(formatRSS, rssType), Items: placeFor(items), Revision: d.revisionNote()},
	}, items)
}

// placeholder stands for elements that were rendered before; no text has it, being escaped.
var placeholder = []byte("<elements/>")

// placeFor is what a document has in the place of its elements until [writeXML] puts them there.
func placeFor(elements [][]byte) []byte {
	if len(elements) == 0 {
		return nil
	}
	return placeholder
}

// writeXML writes a document and its elements, each on a line of its own. They are by far the
// most of it, and are copied once.
func writeXML(w io.Writer, doc gorilla.XmlFeed, elements [][]byte) error {
	var frame bytes.Buffer
	if err := gorilla.WriteXML(doc, &frame); err != nil {
		return err
	}
	head, tail, _ := bytes.Cut(frame.Bytes(), placeholder)
	return writeAll(w, head, []byte("\n"), elements, []byte("\n"), tail)
}

// writeAll writes elements between head and tail, the first after begin, the others each after
// between.
func writeAll(w io.Writer, head, begin []byte, elements [][]byte, between, tail []byte) error {
	_, err := w.Write(head)
	for _, el := range elements {
		if err == nil {
			_, err = w.Write(begin)
		}
		if err == nil {
			_, err = w.Write(el)
		}
		begin = between
	}
	if err == nil {
		_, err = w.Write(tail)
	}
	return err
}
