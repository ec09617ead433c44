// Package listing knows which articles there are, so that they can be listed and filtered without a
// database.
//
// The log has one message for each article and no order but that of changes. An [Index] reads it
// once, when the process starts, and follows it from then on. Of each article it holds in memory
// what a filter asks for, in some 220 bytes; titles and texts it does not: whoever lists articles
// reads those of one page from the log.
//
//	articles   by key: where it is in the log, its site, status, selections as hashes
//	places     by time of publication: for [Index.List]
//	changes    by sequence: for [Index.Changes]
//
// A page of a list costs a search and as many steps as articles are passed over, at most maxSteps:
// a rare filter over many articles gives short pages, even empty ones, and a position from which
// to go on. What the index says of selections is a hint, since hashes may be the same by chance,
// and the article may have changed since: whoever reads it asks [Query.Matches].
//
// A list that is gone through page by page shows each article once, whatever is edited, published
// or withdrawn meanwhile: a [Position] carries the sequence as of which the list was begun, and an
// article whose time of publication was changed stays, for those who began before, at its former
// place as well. That is forgotten with the process; only who goes on in another, at an article
// whose time of publication was just edited, may miss it.
package listing

import (
	"cmp"
	"errors"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// maxSteps is how many articles one page passes over: 200,000 take about 5 ms.
	maxSteps = 200_000
	// maxFormer bounds the former places of articles whose time of publication was edited: those of
	// the latest are kept.
	maxFormer = 10_000
	// slack is how many superseded changes may lie between the current ones beside as many as there
	// are articles, before they are removed.
	slack = 1024
)

// ErrNotReady says that the log has not been read whole since the process started.
var ErrNotReady = errors.New("the index of articles is not filled yet")

// Index is the articles of the log. [Index.Run] keeps it.
type Index struct {
	js  jetstream.JetStream
	log zerolog.Logger

	mu       sync.RWMutex
	articles map[streams.Key]*record
	sites    map[string]uint32 // numbers of sites
	places   []place           // sorted, once the index is ready
	changes  []change          // sorted by sequence; superseded ones among them
	former   int               // places that are former ones
	last     uint64            // the sequence up to which the log is read
	born     time.Time         // when the log's stream was made
	ready    bool
	// changed is closed, and replaced, when something was taken in.
	changed chan struct{}
}

// record is one article.
type record struct {
	key        streams.Key
	seq        uint64
	published  int64 // Unix nanoseconds
	url        uint64
	selections []uint32 // hashes of categories, tags and the language
	site       uint32
	urgency    uint8
	live       bool
}

// place is where an article is listed: for lists begun at sequences from, until before until.
type place struct {
	published   int64
	rec         *record
	from, until uint64
}

// always is the end of a place that is the present one.
const always = math.MaxUint64

func (p place) compare(published int64, key streams.Key) int {
	return cmp.Or(cmp.Compare(p.published, published), cmp.Compare(p.rec.key, key))
}

// change is the newest version of an article, as long as rec.seq is seq.
type change struct {
	seq uint64
	rec *record
}

// New makes an index, which is empty until [Index.Run] has filled it.
func New(js jetstream.JetStream, log zerolog.Logger) *Index {
	x := &Index{js: js, log: log, changed: make(chan struct{})}
	x.reset(time.Time{})
	return x
}

// reset empties the index, for a log that was made at born; the caller holds x.mu, or is New.
func (x *Index) reset(born time.Time) {
	x.articles, x.sites = map[streams.Key]*record{}, map[string]uint32{}
	x.places, x.changes, x.former, x.last, x.born, x.ready = nil, nil, 0, 0, born, false
}

// Ready tells whether the index is filled: [ErrNotReady] if it is not.
func (x *Index) Ready() error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if !x.ready {
		return ErrNotReady
	}
	return nil
}

// Last is the sequence up to which the index knows the log, and when that log was made.
func (x *Index) Last() (seq uint64, born time.Time) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.last, x.born
}

// Count is how many articles there are, withdrawn ones included.
func (x *Index) Count() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.articles)
}

// Changed gives a channel that is closed when something is taken in from now on.
func (x *Index) Changed() <-chan struct{} {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.changed
}

// Query selects articles: those that meet each condition.
type Query struct {
	// Sites are those whose articles are meant; all, when nil.
	Sites []string
	// Category, Tag and Language are as articles have them; any, when empty.
	Category, Tag, Language string
	// Urgency is the highest number, that is the least urgent; 0: any.
	Urgency int
	// Since and Until bound the time of publication: from Since on, and before Until.
	Since, Until time.Time
	// Status is that of events.StatusLive or events.StatusWithdrawn; empty: either.
	Status string
}

// Matches reports whether the article, as it is, meets the query.
func (q Query) Matches(a *article.Article) bool {
	return (q.Sites == nil || slices.Contains(q.Sites, a.Site)) &&
		(q.Category == "" || slices.ContainsFunc(a.Categories, func(c events.Category) bool { return c.ID == q.Category })) &&
		(q.Tag == "" || slices.Contains(a.Tags, q.Tag)) &&
		(q.Language == "" || a.Language == q.Language) &&
		(q.Urgency == 0 || a.Urgency <= q.Urgency) &&
		(q.Since.IsZero() || !a.Published.Before(q.Since)) &&
		(q.Until.IsZero() || a.Published.Before(q.Until)) &&
		(q.Status == "" || a.Status == q.Status)
}

// conditions are a query as the index compares it.
type conditions struct {
	sites      []bool // by number; nil: all
	selections []uint32
	urgency    uint8
	live, gone bool // which are meant
}

func (x *Index) conditions(q Query) conditions {
	c := conditions{live: q.Status != events.StatusWithdrawn, gone: q.Status != events.StatusLive, urgency: uint8(min(q.Urgency, math.MaxUint8))}
	if q.Sites != nil {
		c.sites = make([]bool, len(x.sites))
		for _, s := range q.Sites {
			if n, ok := x.sites[s]; ok {
				c.sites[n] = true
			}
		}
	}
	for kind, s := range map[byte]string{ofCategory: q.Category, ofTag: q.Tag, ofLanguage: q.Language} {
		if s != "" {
			c.selections = append(c.selections, selection(kind, s))
		}
	}
	return c
}

func (c *conditions) meets(r *record) bool {
	if c.sites != nil && !c.sites[r.site] || c.urgency > 0 && r.urgency > c.urgency || r.live && !c.live || !r.live && !c.gone {
		return false
	}
	for _, s := range c.selections {
		if !slices.Contains(r.selections, s) {
			return false
		}
	}
	return true
}

// Kinds of selections, so that a tag is not taken for a category.
const (
	ofCategory = 'c'
	ofTag      = 't'
	ofLanguage = 'l'
)

var seed = maphash.MakeSeed()

func selection(kind byte, s string) uint32 { return uint32(maphash.String(seed, string(rune(kind))+s)) }

// Hit is an article that was found, and its place in the log.
type Hit struct {
	Key streams.Key
	Seq uint64
	// Published is the time at which it is listed, as in a [Position].
	Published int64
}

// Position is a place in a list: after the article of that key, published then. The zero one is
// before the first.
type Position struct {
	// AsOf is the sequence as of which the list was begun.
	AsOf      uint64
	Published int64 // Unix nanoseconds
	Key       streams.Key
}

// List gives at most n articles that meet the query, the latest published first, after a position;
// and the position from which to go on: with more, there may be others.
func (x *Index) List(q Query, after Position, n int) (hits []Hit, next Position, more bool, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if !x.ready {
		return nil, Position{}, false, ErrNotReady
	}
	c := x.conditions(q)
	i := len(x.places)
	if after.Key == "" {
		after.AsOf = x.last
	} else {
		i, _ = slices.BinarySearchFunc(x.places, after, func(p place, a Position) int { return p.compare(a.Published, a.Key) })
	}
	if !q.Until.IsZero() {
		end, _ := slices.BinarySearchFunc(x.places, q.Until.UnixNano(), func(p place, t int64) int { return cmp.Compare(p.published, t) })
		i = min(i, end)
	}
	since := int64(math.MinInt64)
	if !q.Since.IsZero() {
		since = q.Since.UnixNano()
	}
	next = after
	for steps := 0; i > 0; steps++ {
		if steps == maxSteps {
			return hits, next, true, nil
		}
		i--
		p := x.places[i]
		if p.published < since {
			break
		}
		if p.from <= after.AsOf && after.AsOf < p.until && c.meets(p.rec) {
			if len(hits) == n {
				return hits, next, true, nil
			}
			hits = append(hits, Hit{p.rec.key, p.rec.seq, p.published})
		}
		next.Published, next.Key = p.published, p.rec.key
	}
	return hits, next, false, nil
}

// Changes gives at most n articles that meet the query, its times aside, and changed after the sequence, in the order
// of the log; and the sequence up to which that is all there is.
func (x *Index) Changes(q Query, after uint64, n int) (hits []Hit, upTo uint64, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if !x.ready {
		return nil, after, ErrNotReady
	}
	c := x.conditions(q)
	i, _ := slices.BinarySearchFunc(x.changes, after+1, func(ch change, seq uint64) int { return cmp.Compare(ch.seq, seq) })
	upTo = after
	for steps := 0; i < len(x.changes); i++ {
		if len(hits) == n || steps == maxSteps {
			return hits, upTo, nil
		}
		ch := x.changes[i]
		upTo = ch.seq
		steps++
		if ch.rec.seq == ch.seq && c.meets(ch.rec) {
			hits = append(hits, Hit{ch.rec.key, ch.seq, ch.rec.published})
		}
	}
	return hits, max(upTo, x.last), nil
}

// ByURL gives the key of the article whose page has the address, or of one whose page has the same
// hash. It looks at all of them, which takes 1 ms with 100,000: a table would take a fifth of the
// memory for what is asked rarely.
func (x *Index) ByURL(address string) (streams.Key, bool) {
	hash := urlHash(address)
	x.mu.RLock()
	defer x.mu.RUnlock()
	for i := len(x.places) - 1; i >= 0; i-- {
		if r := x.places[i].rec; r.url == hash {
			return r.key, true
		}
	}
	return "", false
}

// urlHash does not tell http from https, nor an address with a slash at the end from one without:
// people paste either.
func urlHash(address string) uint64 {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	return maphash.String(seed, strings.TrimSuffix(address, "/"))
}
