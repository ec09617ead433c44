package feeds

import (
	"bytes"
	"fmt"

	"github.com/loa-syndication/loa/internal/streams"
)

// Trial renders a feed of articles at hand, and reads and stores nothing: it is for measuring
// what rendering costs by itself.
type Trial struct {
	catalog *Catalog
	feed    Feed
	index   index
	entries []streams.Entry // of index.Refs
	items   []*item         // of the same
	pages   pages
}

// NewTrial makes a trial of live articles that the feed shows, as many as a page has.
func (c *Catalog) NewTrial(f Feed, entries []streams.Entry) (*Trial, error) {
	if page := c.Page(f); len(entries) > page {
		return nil, fmt.Errorf("trial of feed %s: %d entries, expected a page of at most %d", f.ID, len(entries), page)
	}
	t := &Trial{catalog: c, feed: f, entries: entries, index: index{Revision: 1}}
	for _, e := range entries {
		ch := c.change(f, e)
		if ch.shown == nil {
			return nil, fmt.Errorf("trial of feed %s: it does not show article %s", f.ID, e.Key)
		}
		it, err := c.item(c.look(f), e.Article, e.Seq)
		if err != nil {
			return nil, err
		}
		t.index.Refs = append(t.index.Refs, *ch.shown)
		t.items = append(t.items, it)
		t.index.Updated = e.Accepted
	}
	return t, nil
}

// Formats are the names of the formats: "rss", "atom", "json".
func (*Trial) Formats() []string {
	var names []string
	for _, f := range formats {
		names = append(names, f.label)
	}
	return names
}

// Anew gives the document of one format, every entry rendered anew from its cleaned fields.
func (t *Trial) Anew(name string) ([]byte, error) {
	for _, format := range formats {
		if format.label != name {
			continue
		}
		parts := make([][]byte, len(t.items))
		for i, it := range t.items {
			var err error
			if parts[i], err = format.element(it.entry); err != nil {
				return nil, err
			}
		}
		var b bytes.Buffer
		err := format.write(&b, t.catalog.document(t.feed, &t.index), parts)
		return b.Bytes(), err
	}
	return nil, fmt.Errorf("no format %q", name)
}

// Changed gives the documents of all formats after entry i has changed: the others are known. They
// are good until the next call.
func (t *Trial) Changed(i int) ([formatCount][]byte, error) {
	it, err := t.catalog.item(t.catalog.look(t.feed), t.entries[i].Article, t.entries[i].Seq)
	if err != nil {
		return [formatCount][]byte{}, err
	}
	t.items[i] = it
	return t.catalog.renderInto(&t.pages, t.feed, &t.index, t.items, nil)
}
