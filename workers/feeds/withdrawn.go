package feeds

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"slices"
	"strings"
	"time"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

// A withdrawn article that a feed has shown leaves two things there. The tombstone (RFC 6721) is
// for the few readers that know what it is; the stub, an entry of the same id that says what
// happened in place of the content, for all others. The stub has a shorter time: it stands among
// the news.

const (
	// defaultStubFor is as long as a reader may have been off, on holiday as a rule.
	defaultStubFor = 7 * 24 * time.Hour
	// defaultWithdrawnFor is that of tombstones, which disturb nobody.
	defaultWithdrawnFor = 30 * 24 * time.Hour
	// maxGone is how many withdrawn articles an index remembers, the latest: at 300 bytes each
	// they take no more than the entries do.
	maxGone = 200

	nsTombstones = "http://purl.org/atompub/tombstones/1.0"
)

// grave is an article that was shown, and has been withdrawn.
type grave struct {
	ref
	// At is when the withdrawal entered the log.
	At time.Time `json:"at"`
	// Told says that the stub's time is over.
	Told bool `json:"told,omitempty"`
}

// bury takes note of what changed among the withdrawn articles. One that was not in the index
// when that was read has been shown to nobody, and leaves nothing, unless it is owed.
func (h *held) bury(changes []change) {
	graves := make(map[streams.Key]grave, len(h.Gone))
	for _, g := range h.Gone {
		graves[g.Key] = g
	}
	for _, c := range changes {
		had, known := graves[c.key]
		switch {
		case known && had.Seq >= c.seq:
		case c.gone == nil: // it is published again, or not in the log any more
			delete(graves, c.key)
		case known || h.before[c.key] || c.owed:
			graves[c.key] = *c.gone
		}
	}
	h.Gone = h.Gone[:0]
	for _, g := range graves {
		h.Gone = append(h.Gone, g)
	}
	slices.SortFunc(h.Gone, func(a, b grave) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Key, b.Key)) })
	h.Gone = h.Gone[:min(len(h.Gone), maxGone)]
}

// forget drops the stubs and the tombstones whose time is over, and gives the time of the next.
func (ix *index) forget(s Settings, now time.Time) (next time.Time) {
	kept := ix.Gone[:0]
	for _, g := range ix.Gone {
		over := g.At.Add(s.WithdrawnFor)
		if !over.After(now) {
			continue
		}
		g.Told = !g.At.Add(s.StubFor).After(now)
		if !g.Told {
			over = g.At.Add(s.StubFor)
		}
		if next.IsZero() || over.Before(next) {
			next = over
		}
		kept = append(kept, g)
	}
	ix.Gone = kept
	return next
}

// shown is what the feed shows, in order: a page of articles, and the stubs of those withdrawn.
func (ix *index) shown(size int) []ref {
	all := slices.Clone(ix.page(size))
	for _, g := range ix.Gone {
		if !g.Told {
			all = append(all, g.ref)
		}
	}
	slices.SortFunc(all, ref.order)
	return all
}

// withdrawal is what a feed says of an article that was withdrawn.
type withdrawal struct {
	ID  string    `json:"id"`
	At  time.Time `json:"withdrawn_at"`
	Why string    `json:"reason,omitempty"`
	// Instead is the address that the CMS gave in the article's place.
	Instead string `json:"redirect_url,omitempty"`
}

// stub is the entry of a withdrawn article.
func (c *Catalog) stub(a *article.Article) *entry {
	e := c.entry(a)
	w := &withdrawal{ID: e.id, At: moment(a.Updated, a.Accepted)}
	if a.Withdrawal != nil {
		w.At = moment(a.Withdrawal.WithdrawnAt, w.At)
		w.Why, w.Instead = article.Text(a.Withdrawal.Reason, maxNote), address(a.Withdrawal.RedirectURL)
	}
	// Readers replace an entry only by one whose time is later, in seconds: that of the version
	// before may be the CMS's, or Loa's.
	e.updated = moment(later(w.At, a.Accepted)).In(zone).Add(time.Second - 1).Truncate(time.Second)
	w.At = w.At.In(zone).Truncate(time.Second)
	e.extension.Withdrawn = w
	title, said, why, instead := "Withdrawn: ", w.At.Format("This article was withdrawn on 2 January 2006 at 15:04 (UTC-07:00)."), "Reason: ", "Read instead"
	if e.vietnamese() {
		title, said, why, instead = "Đã gỡ: ", w.At.Format("Bài viết này đã được gỡ bỏ lúc 15:04 ngày 02/01/2006."), "Lý do: ", "Nội dung thay thế"
	}
	e.title = article.Text(title+e.title, maxTitle)
	e.summary = said
	if w.Why != "" {
		e.summary = join(said, why+w.Why)
	}
	e.content = "<p>" + html.EscapeString(e.summary) + "</p>"
	if w.Instead != "" {
		e.content += fmt.Sprintf("\n<p><a href=\"%s\">%s</a></p>", html.EscapeString(w.Instead), instead)
	}
	return e
}

func (e *entry) vietnamese() bool { return strings.HasPrefix(e.language, "vi") }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

type atomTombstone struct {
	XMLName xml.Name   `xml:"at:deleted-entry"`
	Ref     string     `xml:"ref,attr"`
	When    string     `xml:"when,attr"`
	Lang    string     `xml:"xml:lang,attr,omitempty"`
	Comment string     `xml:"at:comment,omitempty"`
	Links   []atomLink `xml:"link"`
}

// tombstones are what the formats say of a withdrawn article beside its stub; RSS has no words for
// that. The time is later than the stub's, which else were one of an article that came back
// (RFC 6721 §3).
func (e *entry) tombstones() (all elements, err error) {
	w := e.extension.Withdrawn
	x := atomTombstone{Ref: e.id, When: e.updated.Add(time.Second).Format(time.RFC3339), Comment: w.Why}
	if w.Why != "" {
		x.Lang = e.language
	}
	if w.Instead != "" {
		x.Links = []atomLink{{Href: w.Instead, Rel: "related"}}
	}
	if all[formatAtom], err = xml.MarshalIndent(x, "  ", "  "); err == nil {
		all[formatJSON], err = json.Marshal(w)
	}
	if err != nil {
		return elements{}, fmt.Errorf("render the tombstone of %s: %w", e.id, err)
	}
	return all, nil
}

// buried makes the item of a withdrawn article.
func (c *Catalog) buried(a *article.Article, seq uint64) (*item, error) {
	e := c.stub(a)
	full, err := e.render()
	if err != nil {
		return nil, err
	}
	tombs, err := e.tombstones()
	if err != nil {
		return nil, err
	}
	return &item{seq: seq, entry: e, full: full, tombs: []elements{tombs}}, nil
}
