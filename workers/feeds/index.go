package feeds

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/streams"
)

// reserve is how many entries an index holds beyond those that are shown, so that withdrawals
// seldom make it look for older articles.
const reserve = 150

// index is what a feed knows: its newest entries. It is kept in the bucket as JSON, under the
// feed's id, with one writer at a time; its size, and the cost of a change, do not depend on how
// many articles there are.
type index struct {
	// Form is that of the rendering, and Selection what the feed selected, when the index was
	// written; empty in one that is older than they are.
	Form      string `json:"form,omitempty"`
	Selection string `json:"selection,omitempty"`
	// Revision counts the states of what is shown. The stored renderings carry it.
	Revision uint64 `json:"revision"`
	// Updated is when the last version that changed what is shown entered the log.
	Updated time.Time `json:"updated"`
	// Label is what the article of LabelSeq, the latest one, calls the feed's category.
	Label    string `json:"label,omitempty"`
	LabelSeq uint64 `json:"label_seq,omitzero"`
	// Floor is the place of the newest entry that was dropped for lack of room; nil when
	// nothing was. Above it the index is complete; below it there is nothing.
	Floor *place `json:"floor,omitempty"`
	// Refs are in the order in which they are shown.
	Refs []ref `json:"refs"`
	// Gone are the articles that were shown and withdrawn since, the latest first.
	Gone []grave `json:"gone,omitempty"`
	// Archived is the place of the newest entry that was put into the archives as the page filled:
	// from there down, all are in them. Nil: none is.
	Archived *place `json:"archived,omitempty"`
	// Months are those of which there are archives, in order.
	Months []month `json:"months,omitempty"`
	// Archives counts the changes of archives. Their renderings carry it.
	Archives uint64 `json:"archives,omitzero"`
	// Due is the time for which the next change of Gone is scheduled; zero: none is.
	Due time.Time `json:"due,omitzero"`
}

// place is what entries are ordered by: publication time, the latest first, then identifier.
type place struct {
	Published time.Time `json:"published"`
	GUID      string    `json:"guid"`
}

func (p place) compare(q place) int {
	return cmp.Or(q.Published.Compare(p.Published), strings.Compare(p.GUID, q.GUID))
}

// ref is an entry: one version of an article, by its place in the log.
type ref struct {
	Key streams.Key `json:"key"`
	place
	Version string `json:"version"`
	Seq     uint64 `json:"seq"`
}

func (r ref) order(s ref) int { return cmp.Or(r.compare(s.place), cmp.Compare(r.Key, s.Key)) }

// held is an index with its place in the bucket.
type held struct {
	index
	stored   []byte    // as it was read; nil when there is none
	revision uint64    // the bucket's
	before   keys      // what it held when it was read
	accepted time.Time // when the latest version that was applied since entered the log
	now      time.Time // when it was read: by it stubs and tombstones are over
	next     time.Time // when the next of them is; zero: there is none
	old      []late    // what may be in archives of what was applied
	anew     bool      // what is stored may be other than this says
}

// change is what the log says of one article, seen by one feed.
type change struct {
	key   streams.Key
	seq   uint64
	shown *ref   // nil: the feed is not to show it
	gone  *grave // set when it was withdrawn
	// owed is set when readers may have to learn of the withdrawal although the index does not hold
	// the article.
	owed     bool
	accepted time.Time
	label    string
	times    []time.Time // at which the article is and ever was published
}

type keys map[streams.Key]bool

// gone is the sequence of an article that the log does not hold: later than any.
const gone = math.MaxUint64

func (c *Catalog) change(f Feed, e streams.Entry) change {
	ch := change{key: e.Key, seq: e.Seq}
	if e.Article == nil {
		return ch
	}
	ch.accepted = e.Accepted
	r := ref{
		Key: e.Key, Version: e.Version.String(), Seq: e.Seq,
		place: place{Published: moment(e.Published, e.Accepted).UTC(), GUID: e.GUID},
	}
	ch.times = append(ch.times, r.Published)
	for _, t := range e.Ever.Published {
		if t = moment(t, e.Accepted).UTC(); !t.Equal(r.Published) {
			ch.times = append(ch.times, t)
		}
	}
	switch {
	case c.Matches(f, e.Article):
		ch.shown, ch.label = &r, f.label(e.Article)
	case !e.Live() && (f.Kind != OfGallery || len(e.Gallery) > 0):
		ch.gone = &grave{ref: r, At: e.Accepted.UTC()}
		ch.owed = c.owed(f, e)
	}
	return ch
}

// owed reports whether a feed's readers may have an article that was withdrawn not long ago, although
// its index did not hold it any more: they had it from the feed that this one goes on with, or it
// had left the feed before.
func (c *Catalog) owed(f Feed, e streams.Entry) bool {
	if e.URL == "" || // it was withdrawn without ever having been published
		!e.Accepted.Add(c.settings.WithdrawnFor).After(c.now()) || !slices.Contains(c.Concerned(e.Article), f.ID) {
		return false
	}
	switch f.Kind {
	case OfCategory, OfTag, OfUrgency, OfCustom:
		last := *e.Article // as it was published last, for all that decides
		last.Status = events.StatusLive
		if !c.Matches(f, &last) {
			return true
		}
	}
	return f.Kind != OfCustom && !c.tree.Under(e.Site, f.Site)
}

// apply brings the index level with the changes, in whatever order they come: of two versions
// of an article the later counts.
func (h *held) apply(changes []change) {
	refs := make(map[streams.Key]ref, len(h.Refs)+len(changes))
	for _, r := range h.Refs {
		refs[r.Key] = r
	}
	h.bury(changes)
	for _, c := range changes {
		had, known := refs[c.key]
		switch {
		case known && had.Seq > c.seq:
			continue
		case c.shown == nil || h.below(c.shown.place):
			delete(refs, c.key)
			if !known {
				continue
			}
		default:
			refs[c.key] = *c.shown
			if c.label != "" && c.seq >= h.LabelSeq {
				h.Label, h.LabelSeq = c.label, c.seq
			}
			if known && had.Seq == c.seq {
				continue
			}
		}
		if c.accepted.After(h.accepted) {
			h.accepted = c.accepted
		}
	}
	h.Refs = h.Refs[:0]
	for _, r := range refs {
		h.Refs = append(h.Refs, r)
	}
	slices.SortFunc(h.Refs, ref.order)
}

// trim keeps the newest entries, as many as keep says.
func (h *held) trim(keep int) {
	if len(h.Refs) > keep {
		floor := h.Refs[keep].place
		h.Floor, h.Refs = &floor, h.Refs[:keep]
	}
}

// page is the entries of articles that are shown.
func (ix *index) page(size int) []ref { return ix.Refs[:min(size, len(ix.Refs))] }

// short reports whether the feed shows fewer entries than it could: there are older ones.
func (ix *index) short(size int) bool { return len(ix.Refs) < size && ix.Floor != nil }

// face identifies what a reader sees of the index.
func (ix *index) face(size int) string {
	var b strings.Builder
	b.WriteString(ix.Label)
	for _, r := range ix.page(size) {
		fmt.Fprintf(&b, "\x00%s@%d", r.Key, r.Seq)
	}
	for _, g := range ix.Gone {
		fmt.Fprintf(&b, "\x00-%s@%d %t", g.Key, g.Seq, g.Told)
	}
	return b.String()
}

// errMoved says that another worker wrote the index in the meantime.
var errMoved = errors.New("another worker wrote it first")

// readIndex reads a feed's index, of which there is none before its first article, from the
// bucket's leader: another worker may have written it a moment ago.
func (f *Feeds) readIndex(ctx context.Context, feed string) (*held, error) {
	data, revision, err := streams.LatestValue(ctx, f.js, streams.FeedsBucket, feed)
	if err != nil {
		return nil, err
	}
	h := &held{stored: data, revision: revision, now: time.Now()}
	if data == nil {
		return h, nil
	}
	if err := json.Unmarshal(data, &h.index); err != nil {
		return nil, fmt.Errorf("read the index of feed %s: %w", feed, err)
	}
	h.before = make(keys, len(h.Refs))
	for _, r := range h.Refs {
		h.before[r.Key] = true
	}
	return h, nil
}

// writeIndex writes the index if it differs from the one that was read. [errMoved] if that is
// no longer the current one.
func (f *Feeds) writeIndex(ctx context.Context, feed Feed, h *held) error {
	data, err := json.Marshal(h.index)
	if err != nil {
		return fmt.Errorf("encode its index: %w", err)
	}
	if bytes.Equal(data, h.stored) {
		return nil
	}
	revision, err := f.bucket.Update(ctx, feed.ID, data, h.revision)
	if streams.IsConflict(err) {
		err = errMoved
	}
	if err != nil {
		return fmt.Errorf("write its index: %w", err)
	}
	h.stored, h.revision = data, revision
	return nil
}
