package feeds

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"
	gorilla "github.com/gorilla/feeds"

	"github.com/loa-syndication/loa/internal/article"
)

const (
	// formVersion is this program's way to render. Raising it has feeds rendered anew.
	formVersion = 3
	generator   = "Loa"

	// maxFull is the size that the entries with full contents may have together, in the
	// largest of the formats, in bytes. FreshRSS cuts what a hub sends it at 3 MB; the rest is
	// room for the entries that are briefs.
	maxFull = 2 << 20
)

// The formats of every feed.
const (
	formatRSS = iota
	formatAtom
	formatJSON
	formatCount
)

// Media types of the formats.
const (
	rssType  = "application/rss+xml"
	atomType = "application/atom+xml"
	jsonType = "application/feed+json" // JSON is UTF-8 without saying so
)

// formats are how each is stored and rendered: the elements of its entries first, then the
// document around them.
var formats = [formatCount]struct {
	name        string // of the object, and in addresses
	label       string // in metrics and messages
	contentType string
	between     string // two entries
	element     func(*entry) ([]byte, error)
	write       func(io.Writer, *document, [][]byte) error
}{
	formatRSS:  {"feed.rss", "rss", rssType + "; charset=utf-8", "\n", rssElement, writeRSS},
	formatAtom: {"feed.atom", "atom", atomType + "; charset=utf-8", "\n", atomElement, writeAtom},
	formatJSON: {"feed.json", "json", jsonType, ",\n", jsonElement, writeJSON},
}

// elements is one entry in every format.
type elements [formatCount][]byte

// largest is the size of the largest of them, in bytes.
func (e elements) largest(wanted ...int) int {
	n := 0
	for i, data := range e {
		if wants(wanted, i) {
			n = max(n, len(data))
		}
	}
	return n
}

func wants(wanted []int, format int) bool { return len(wanted) == 0 || slices.Contains(wanted, format) }

// render renders the entry in the formats wanted; in all, if none is named.
func (e *entry) render(wanted ...int) (elements, error) {
	var all elements
	for i, f := range formats {
		if !wants(wanted, i) {
			continue
		}
		data, err := f.element(e)
		if err != nil {
			return elements{}, fmt.Errorf("render %s as %s: %w", e.id, f.label, err)
		}
		all[i] = data
	}
	return all, nil
}

// item is an entry that was rendered as its look says. It does not change.
type item struct {
	seq uint64 // of the version
	*entry
	full elements // as large as it is shown
	// tombs stand beside full when that is a stub: one, or in a gallery one of each picture.
	tombs []elements
}

func (c *Catalog) item(l look, a *article.Article, seq uint64, wanted ...int) (*item, error) {
	if l == lookGallery {
		return c.galleryItem(a, seq)
	}
	if !a.Live() {
		return c.buried(a, seq)
	}
	e := c.entry(a)
	if l == lookBrief {
		e = e.brief()
	}
	full, err := e.render(wanted...)
	if err != nil {
		return nil, err
	}
	return &item{seq: seq, entry: e, full: full}, nil
}

// size is about what the item takes in memory, in bytes.
func (i *item) size() int {
	const others = 1 << 10
	return len(i.full[formatRSS]) + len(i.full[formatAtom]) + len(i.full[formatJSON]) + len(i.content) + others
}

// document is a feed as every format shows it, without its entries.
type document struct {
	id, title, language string
	about               string     // what begins the description
	ended               bool       // its site has been succeeded,
	next                []atomLink // by these
	publisher, home     string     // the site
	image               string
	hubs                []string
	ttl                 time.Duration
	updated             time.Time
	revision            uint64
	address             [formatCount]string // where each format is read
	// tombstones are those of Atom, withdrawn those of JSON Feed.
	tombstones [][]byte
	withdrawn  []json.RawMessage
	// archive says that it is one, around it are links to others of the feed's documents.
	archive bool
	around  []atomLink
}

// feedSpace is the name space of feeds' identifiers (RFC 9562 §5.5).
var feedSpace = uuid.MustParse("6f1e6c1e-5d0b-5b0e-9a3c-6c6f61000003")

func (c *Catalog) document(f Feed, ix *index) *document {
	of, _ := c.tree.Get(f.Site)
	d := &document{
		id:        uuid.NewSHA1(feedSpace, []byte(f.ID)).URN(),
		title:     c.Title(f, ix.Label),
		about:     cmp.Or(c.ended(f), "Tin mới: "),
		ended:     c.ended(f) != "",
		language:  c.language(f),
		publisher: c.Title(Feed{Site: f.Site, Kind: OfSite}, ""),
		home:      address(of.URL),
		image:     address(c.settings.Image),
		hubs:      c.settings.Hubs,
		ttl:       c.settings.TTL,
		updated:   moment(ix.Updated).In(zone).Truncate(time.Second),
		revision:  ix.Revision,
	}
	if f.Kind == OfGallery && !d.ended {
		d.about = "Ảnh mới: "
	}
	if d.ended {
		for _, id := range c.tree.Successors(f.Site, c.now()) {
			next, _ := c.tree.Get(id)
			if url := address(next.URL); url != "" {
				d.next = append(d.next, atomLink{Href: url, Rel: "related", Type: "text/html", Title: c.Title(Feed{Site: id, Kind: OfSite}, "")})
			}
		}
	}
	for i, format := range formats {
		d.address[i] = c.address(f, format.name)
	}
	return d
}

// gorilla is the document as far as gorilla/feeds knows feeds.
func (d *document) gorilla() *gorilla.Feed {
	g := &gorilla.Feed{
		Title: d.title, Link: &gorilla.Link{Href: d.home}, Description: d.about + d.title, Updated: d.updated,
	}
	if d.home == "" { // RSS wants a link
		g.Link.Href = d.address[formatRSS]
	}
	if d.image != "" {
		g.Image = &gorilla.Image{Url: d.image, Title: d.title, Link: g.Link.Href}
	}
	return g
}

// links are those that every feed has: itself in this format, its hubs (WebSub §4), and its
// archives.
func (d *document) links(format int, mediaType string) []atomLink {
	links := []atomLink{{Href: d.address[format], Rel: "self", Type: mediaType}}
	for _, hub := range d.hubs {
		links = append(links, atomLink{Href: hub, Rel: "hub"})
	}
	links = append(links, d.next...)
	if format == formatAtom {
		links = append(links, d.around...)
	}
	return links
}

// revisionNote is a comment that no two states share: an object's ETag depends on its body
// alone, and the fence of the stored renderings on the ETag.
func (d *document) revisionNote() string { return fmt.Sprintf(" revision %d ", d.revision) }

// render renders the feed in every format. It is a function of its arguments alone. Every
// format shows the same: from the entry on at which the full contents would be larger than
// maxFull together, there are summaries. Items are those of what the index shows, gone those of the
// withdrawn articles that it remembers.
func (c *Catalog) render(f Feed, ix *index, items, gone []*item) ([formatCount][]byte, error) {
	return c.renderInto(new(pages), f, ix, items, gone)
}

// pages are memory for a document of each format: hundreds of kilobytes, which took longer to come
// by than to fill.
type pages [formatCount]bytes.Buffer

// renderInto renders into memory that was used before; the documents are good until it is again.
func (c *Catalog) renderInto(into *pages, f Feed, ix *index, items, gone []*item) (docs [formatCount][]byte, err error) {
	parts, err := fit(f, items)
	if err != nil {
		return docs, err
	}
	d := c.document(f, ix)
	if to := latest(ix.Months); to != "" {
		d.around = []atomLink{{Href: c.address(f, archiveObject(to)), Rel: "prev-archive", Type: atomType}}
	}
	for _, it := range gone {
		for _, tomb := range it.tombs {
			d.tombstones = append(d.tombstones, tomb[formatAtom])
			d.withdrawn = append(d.withdrawn, tomb[formatJSON])
		}
	}
	for i := range formats {
		if docs[i], err = d.write(&into[i], i, parts[i]); err != nil {
			return docs, fmt.Errorf("render feed %s as %s: %w", f.ID, formats[i].label, err)
		}
	}
	return docs, nil
}

// fit gives the elements of the items, in the formats wanted, or in every one: the full ones as far
// as they are no larger than maxFull.
func fit(f Feed, items []*item, wanted ...int) (parts [formatCount][][]byte, err error) {
	full := true
	room := maxFull
	for _, it := range items {
		el := it.full
		if room -= el.largest(wanted...); room < 0 {
			if f.Kind == OfGallery {
				break // its entries are briefs as they are
			}
			full = false
		}
		if !full {
			if el, err = it.brief().render(wanted...); err != nil {
				return parts, err
			}
		}
		for i := range formats {
			if len(el[i]) > 0 && wants(wanted, i) { // else a gallery's article without a picture that can be shown
				parts[i] = append(parts[i], el[i])
			}
		}
	}
	return parts, nil
}

// write writes the document in a format, with its entries.
func (d *document) write(b *bytes.Buffer, format int, entries [][]byte) ([]byte, error) {
	const head = 4 << 10 // what surrounds the entries
	size := head
	for _, element := range slices.Concat(entries, d.tombstones) {
		size += len(element) + 2
	}
	b.Reset()
	b.Grow(size)
	err := formats[format].write(b, d, entries)
	return b.Bytes(), err
}
