package feeds

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/streams"
)

// Archives hold what a feed has shown, by month of publication (RFC 5005 §4):
//
//	feed.atom ──prev-archive──▶ archive/2026-11-2.atom ──▶ 2026-11.atom ──▶ 2026-10.atom ──▶ …
//
// What falls off the page is in one before. Then all is put away that is not yet: the months that
// are over, or, when the page holds a single month, what there is of that. So each archive is
// whole from the beginning: what comes later in the month goes into its next part, and an archive
// changes only with the articles in it, or by one that comes late, dated back. What is both on
// the page and in an archive, readers merge by id.
//
// The bucket "archives" has, under <feed>.<month>, which times each part of the month spans, and
// under <feed>.<month>.<part> the part's entries. An article is looked for at the times at which
// it is and ever was published; so the cost of a change depends on how many parts a month has,
// and not on how many articles there are.

const (
	// maxPart is how many entries a part takes, withdrawn ones included: with full contents of
	// usual size 400 KB.
	maxPart = 100
	// firstYear and lastYear bound the months that there can be, and with them the list of a
	// feed's: what is dated earlier or later is archived in the first or last of them.
	firstYear, lastYear = 1990, 2100
)

// archived reports whether the feed has archives. The others show selections of what these hold.
func (f Feed) archived() bool {
	return f.Kind == OfSite || f.Kind == OfSubtree || f.Kind == OfCategory
}

// month is what a feed has archives of, and in how many parts.
type month struct {
	Name  string `json:"name"`
	Parts int    `json:"parts"`
}

func monthOf(t time.Time) string {
	t = t.In(zone)
	switch {
	case t.Year() < firstYear:
		return fmt.Sprintf("%d-01", firstYear)
	case t.Year() > lastYear:
		return fmt.Sprintf("%d-12", lastYear)
	}
	return t.Format("2006-01")
}

// archiveName is the name of a part of a month: "2026-11", "2026-11-2".
func archiveName(month string, part int) string {
	if part == 1 {
		return month
	}
	return fmt.Sprintf("%s-%d", month, part)
}

// latest is the name of the archive that the feed itself leads to; empty when there is none.
func latest(months []month) string {
	if len(months) == 0 {
		return ""
	}
	m := months[len(months)-1]
	return archiveName(m.Name, m.Parts)
}

// around are the names of the archives before and after a part; empty when there is none.
func around(months []month, name string, part int) (prev, next string) {
	i, _ := slices.BinarySearchFunc(months, name, func(m month, s string) int { return strings.Compare(m.Name, s) })
	switch {
	case part > 1:
		prev = archiveName(name, part-1)
	default:
		prev = latest(months[:i])
	}
	switch {
	case i < len(months) && part < months[i].Parts:
		next = archiveName(name, part+1)
	case i+1 < len(months):
		next = archiveName(months[i+1].Name, 1)
	}
	return prev, next
}

// span is what the list of a month says of a part: how many entries it has had, and from when to
// when they were published.
type span struct {
	Entries int       `json:"entries"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

func (s span) covers(t time.Time) bool { return !t.Before(s.First) && !t.After(s.Last) }

func (s *span) add(t time.Time) {
	if s.Entries == 0 || t.Before(s.First) {
		s.First = t
	}
	if s.Entries == 0 || t.After(s.Last) {
		s.Last = t
	}
	s.Entries++
}

// part is what an archive holds.
type part struct {
	// Revision is the one of the index's archives at which it was rendered last, and Form in which
	// form.
	Revision uint64 `json:"revision"`
	Form     string `json:"form"`
	Refs     []ref  `json:"refs"` // in the order in which they are shown
	// Gone are the withdrawn articles, of which their tombstones remain until the part changes
	// after their time.
	Gone []grave `json:"gone,omitempty"`
}

// has gives the version of the article that the part holds, alive or withdrawn.
func (p *part) has(key streams.Key) (seq uint64, live, ok bool) {
	for _, r := range p.Refs {
		if r.Key == key {
			return r.Seq, true, true
		}
	}
	for _, g := range p.Gone {
		if g.Key == key {
			return g.Seq, false, true
		}
	}
	return 0, false, false
}

// shows reports whether the part shows the article, as published at that time.
func (p *part) shows(key streams.Key, t time.Time) bool {
	return slices.ContainsFunc(p.Refs, func(r ref) bool { return r.Key == key && r.Published.Equal(t) })
}

// remove takes the article out.
func (p *part) remove(key streams.Key) {
	p.Refs = slices.DeleteFunc(p.Refs, func(r ref) bool { return r.Key == key })
	p.Gone = slices.DeleteFunc(p.Gone, func(g grave) bool { return g.Key == key })
}

// set has the part hold the change's version, in whatever way it does.
func (p *part) set(c change) {
	p.remove(c.key)
	switch {
	case c.shown != nil:
		p.Refs = append(p.Refs, *c.shown)
		slices.SortFunc(p.Refs, ref.order)
	case c.gone != nil:
		p.Gone = append(p.Gone, *c.gone)
	}
}

// unsealed is what has to go into archives before it falls off the page, the oldest first.
func (ix *index) unsealed(page int) []ref {
	if len(ix.Refs) <= page || !ix.above(ix.Refs[page].place) {
		return nil
	}
	var all []ref
	open := monthOf(ix.Refs[0].Published)
	whole := monthOf(ix.Refs[page].Published) == open
	for _, r := range slices.Backward(ix.Refs) {
		if ix.above(r.place) && (whole || monthOf(r.Published) != open) {
			all = append(all, r)
		}
	}
	return all
}

// above reports whether the place is one above which entries may be in no archive.
func (ix *index) above(p place) bool { return ix.Archived == nil || p.compare(*ix.Archived) < 0 }

// below reports whether the place is one below which the index holds nothing.
func (ix *index) below(p place) bool { return ix.Floor != nil && p.compare(*ix.Floor) >= 0 }

// nsHistory is the name space of what marks an archive (RFC 5005 §2).
const nsHistory = "http://purl.org/syndication/history/1.0"

const archivePrefix = "archive/"

func archiveObject(name string) string { return archivePrefix + name + ".atom" }

// renderArchive renders a part, of whose months the feed has archives.
func (c *Catalog) renderArchive(f Feed, label string, months []month, p *heldPart, show view) ([]byte, error) {
	var updated time.Time
	for _, it := range slices.Concat(show.items, show.gone) {
		updated = later(updated, it.updated)
	}
	d := c.document(f, &index{Label: label, Updated: updated, Revision: p.Revision})
	d.archive, d.hubs = true, nil
	d.address[formatAtom] = c.address(f, archiveObject(p.name()))
	d.around = []atomLink{{Href: c.address(f, formats[formatAtom].name), Rel: "current", Type: atomType}}
	prev, next := around(months, p.month, p.number)
	for _, link := range []struct{ rel, name string }{{"prev-archive", prev}, {"next-archive", next}} {
		if link.name != "" {
			d.around = append(d.around, atomLink{Href: c.address(f, archiveObject(link.name)), Rel: link.rel, Type: atomType})
		}
	}
	for _, it := range show.gone {
		for _, tomb := range it.tombs {
			d.tombstones = append(d.tombstones, tomb[formatAtom])
		}
	}
	entries, err := fit(f, show.items, formatAtom)
	if err != nil {
		return nil, err
	}
	body, err := d.write(new(bytes.Buffer), formatAtom, entries[formatAtom])
	if err != nil {
		return nil, fmt.Errorf("render archive %s of feed %s: %w", p.name(), f.ID, err)
	}
	return body, nil
}
