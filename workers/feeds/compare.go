package feeds

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/streams"
)

// Indexes reads the feeds' indexes, and compares them with articles; it changes nothing.
type Indexes struct {
	js      jetstream.JetStream
	catalog *Catalog
	// Configured says that the catalog's settings are those of the process that renders the feeds:
	// then archives are compared by them as well.
	Configured bool
}

// NewIndexes looks at the indexes of a catalog's feeds.
func NewIndexes(js jetstream.JetStream, c *Catalog) *Indexes { return &Indexes{js: js, catalog: c} }

// indexesAtOnce is how many indexes are in memory together. One has 50 KB as a rule, and at most
// a megabyte.
const indexesAtOnce = 100

// Compare calls each for every article and every feed that it may concern: level, if the feed's
// index agrees with the article.
func (ix *Indexes) Compare(ctx context.Context, entries []streams.Entry, each func(feed string, e streams.Entry, level bool)) error {
	concerned := map[string][]streams.Entry{}
	var ids []string
	for _, e := range entries {
		for _, id := range ix.catalog.Concerned(e.Article) {
			if concerned[id] == nil {
				ids = append(ids, id)
			}
			concerned[id] = append(concerned[id], e)
		}
	}
	for part := range slices.Chunk(ids, indexesAtOnce) {
		found, err := ix.read(ctx, part)
		if err != nil {
			return err
		}
		for _, id := range part {
			feed, ok := ix.catalog.Parse(id)
			if !ok {
				continue // its category is not one that makes a feed
			}
			h := found[id]
			refs := make(map[streams.Key]ref, len(h.Refs))
			for _, r := range h.Refs {
				refs[r.Key] = r
			}
			archives := &archiving{f: &Feeds{js: ix.js, catalog: ix.catalog}, feed: feed, lists: map[string]*heldMonth{}, parts: map[string]*heldPart{}}
			for _, e := range concerned[id] {
				c := ix.catalog.change(feed, e)
				level := h.agrees(c, refs)
				if level && feed.archived() {
					if level, err = archives.agree(ctx, h, c, ix.Configured); err != nil {
						return err
					}
				}
				each(id, e, level)
			}
		}
	}
	return nil
}

// agrees reports whether to apply c would change nothing.
func (ix *index) agrees(c change, refs map[streams.Key]ref) bool {
	have, known := refs[c.key]
	if c.owed && len(ix.Gone) < maxGone && !slices.ContainsFunc(ix.Gone, func(g grave) bool { return g.Key == c.key }) {
		return false
	}
	if c.shown == nil || ix.Floor != nil && c.shown.compare(*ix.Floor) >= 0 {
		return !known
	}
	return known && have.Seq >= c.seq
}

// agree reports whether the archives follow the change; the others are only read.
func (a *archiving) agree(ctx context.Context, ix *index, c change, configured bool) (bool, error) {
	page := a.f.catalog.Page(a.feed)
	must := c.shown != nil &&
		(!ix.above(c.shown.place) || ix.below(c.shown.place) || configured && len(ix.Refs) > page && c.shown.compare(ix.Refs[page].place) >= 0)
	if !must && (len(ix.Months) == 0 || c.shown != nil && len(c.times) == 1) {
		return true, nil
	}
	found := false
	for _, t := range c.times {
		p, err := a.find(ctx, c.key, t)
		if err != nil {
			return false, err
		}
		if p == nil {
			continue
		}
		seq, live, _ := p.has(c.key)
		if live && (c.shown == nil || seq < c.seq || !p.shows(c.key, c.shown.Published)) || !live && c.shown != nil ||
			configured && p.Form != a.f.catalog.form(a.feed) {
			return false, nil
		}
		found = found || live
	}
	return found || !must, nil
}

// read gives the indexes that there are, and an empty one for every other id.
func (ix *Indexes) read(ctx context.Context, ids []string) (map[string]*index, error) {
	prefix := "$KV." + streams.FeedsBucket + "."
	subjects := make([]string, len(ids))
	found := make(map[string]*index, len(ids))
	for i, id := range ids {
		subjects[i] = prefix + id
		found[id] = &index{}
	}
	msgs, err := streams.ReadLast(ctx, ix.js, "KV_"+streams.FeedsBucket, subjects)
	if err != nil {
		return nil, fmt.Errorf("read the indexes of %d feeds: %w", len(ids), err)
	}
	for _, m := range msgs {
		if len(m.Data) == 0 { // it was deleted
			continue
		}
		id := m.Subject[len(prefix):]
		if err := json.Unmarshal(m.Data, found[id]); err != nil {
			return nil, fmt.Errorf("read the index of feed %s: %w", id, err)
		}
	}
	return found, nil
}

// notes are the kinds of feeds whose ids articles alone tell, each with a key beside the indexes
// that is no feed's id. Where it is missing, the log may be older than the kind is, or than it was
// last put off, and hold articles that no feed was told of.
var notes = map[Kind]string{
	OfCategory: note + "categories", OfTag: note + "tags", OfAuthor: note + "authors",
	OfUrgency: note + "urgencies", OfGallery: note + "galleries",
}

const (
	// note begins the keys of the notes.
	note = "filled."
	// archivesNote is one, too: where it is missing, indexes may have dropped articles before there
	// were archives to put them into.
	archivesNote = note + "archives"
	// successionNote holds whose articles the feeds have been filled with (see [Catalog.succession]).
	successionNote = note + "succession"
)

// Lack is what only the log can give.
type Lack struct {
	// Feeds are those of sites and subtrees that have no entries although the log holds articles for
	// them: of sites that came into the tree above articles which were there already.
	Feeds []Feed
	// Kinds are those of which every feed may lack entries.
	Kinds []Kind
	// Archives says that every feed's archives may.
	Archives bool
	// Heirs are the sites that have come to show what others published, of which any feed may.
	Heirs []string
}

// Nothing reports whether there is nothing that they lack.
func (l Lack) Nothing() bool {
	return len(l.Feeds) == 0 && len(l.Kinds) == 0 && !l.Archives && len(l.Heirs) == 0
}

// Lacking finds what nothing would give the feeds but new articles. Of [Lack.Kinds] there are none
// after [Indexes.Filled]: a feed of them without entries is of nothing then.
func (ix *Indexes) Lacking(ctx context.Context) (lack Lack, err error) {
	filled, err := ix.noted(ctx, archivesNote)
	if err != nil {
		return Lack{}, err
	}
	lack.Archives = !filled
	known, _, err := streams.LatestValue(ctx, ix.js, streams.FeedsBucket, successionNote)
	if err != nil {
		return Lack{}, fmt.Errorf("look up which successions feeds follow: %w", err)
	}
	if string(known) != ix.catalog.succession() {
		lack.Heirs = ix.catalog.heirs()
	}
	for kind, key := range notes {
		noted, err := ix.noted(ctx, key)
		if err != nil {
			return Lack{}, err
		}
		if !noted && !ix.catalog.off(kind) {
			lack.Kinds = append(lack.Kinds, kind)
		}
	}
	var ids []string
	for _, s := range ix.catalog.tree.All() {
		ids = append(ids, s.ID, s.ID+separator+ofAll)
	}
	log, err := ix.js.Stream(ctx, streams.Articles)
	if err != nil {
		return Lack{}, fmt.Errorf("open the log: %w", err)
	}
	published := map[string]bool{} // by the site's id
	for part := range slices.Chunk(ids, indexesAtOnce) {
		found, err := ix.read(ctx, part)
		if err != nil {
			return Lack{}, err
		}
		for _, id := range part {
			feed, ok := ix.catalog.Parse(id)
			if !ok || len(found[id].Refs) > 0 || ix.catalog.off(feed.Kind) {
				continue
			}
			for _, site := range ix.catalog.sitesOf(feed) {
				has, known := published[site]
				if !known {
					info, err := log.Info(ctx, jetstream.WithSubjectFilter(streams.ArticlesOf(site)))
					if err != nil {
						return Lack{}, fmt.Errorf("look up whether site %s has articles: %w", site, err)
					}
					has = len(info.State.Subjects) > 0
					published[site] = has
				}
				if has {
					lack.Feeds = append(lack.Feeds, feed)
					break
				}
			}
		}
	}
	return lack, nil
}

// noted reports whether a note is there.
func (ix *Indexes) noted(ctx context.Context, key string) (bool, error) {
	value, _, err := streams.LatestValue(ctx, ix.js, streams.FeedsBucket, key)
	if err != nil {
		return false, fmt.Errorf("look up whether feeds were filled: %w", err)
	}
	return len(value) > 0, nil
}

// Filled notes that what the feeds lacked has been flagged.
func (ix *Indexes) Filled(ctx context.Context) error {
	bucket, err := ix.js.KeyValue(ctx, streams.FeedsBucket)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.FeedsBucket, err)
	}
	known, _, err := streams.LatestValue(ctx, ix.js, streams.FeedsBucket, successionNote)
	if now := ix.catalog.succession(); err == nil && string(known) != now {
		_, err = bucket.PutString(ctx, successionNote, now)
	}
	if err != nil {
		return fmt.Errorf("note which successions feeds follow: %w", err)
	}
	wanted := map[string]bool{archivesNote: true}
	for kind, key := range notes {
		wanted[key] = !ix.catalog.off(kind)
	}
	for key, on := range wanted {
		noted, err := ix.noted(ctx, key)
		if err != nil {
			return err
		}
		switch {
		case noted && !on: // what comes from now on is told to none of its feeds
			err = bucket.Delete(ctx, key)
		case !noted && on:
			_, err = bucket.PutString(ctx, key, "1")
		}
		if err != nil {
			return fmt.Errorf("note that feeds were filled, as %s: %w", key, err)
		}
	}
	return nil
}

// Outdated gives the ids of the feeds that the configuration has otherwise than it had them when
// they were last rendered: by other settings, of other sites, or, if they are custom ones, not
// at all, or not yet. [Look] has them looked at.
func (ix *Indexes) Outdated(ctx context.Context) ([]string, error) {
	bucket, err := ix.js.KeyValue(ctx, streams.FeedsBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.FeedsBucket, err)
	}
	var ids []string
	seen := map[string]bool{}
	err = eachIndex(ctx, bucket, func(v jetstream.KeyValueEntry) error {
		id := v.Key()
		var had struct {
			Form      string `json:"form"`
			Selection string `json:"selection"`
		}
		if err := json.Unmarshal(v.Value(), &had); err != nil {
			return fmt.Errorf("index of %s: %w", id, err)
		}
		seen[id] = true
		feed, ok := ix.catalog.Parse(id)
		if !ok && wasCustom(id, had.Selection) || ok && (had.Form != ix.catalog.form(feed) || had.Selection != ix.catalog.selection(feed)) {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for feeds that were made by other settings: %w", err)
	}
	for id := range ix.catalog.custom {
		if !seen[id] {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Made gives the ids of the feeds that there are; of those of some sites alone, if any are named.
func (ix *Indexes) Made(ctx context.Context, sites []string) (ids []string, err error) {
	bucket, err := ix.js.KeyValue(ctx, streams.FeedsBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.FeedsBucket, err)
	}
	err = eachIndex(ctx, bucket, func(v jetstream.KeyValueEntry) error {
		if f, ok := ix.catalog.Parse(v.Key()); ok && (len(sites) == 0 || slices.Contains(sites, f.Site)) {
			ids = append(ids, f.ID)
		}
		return nil
	}, jetstream.MetaOnly())
	if err != nil {
		return nil, fmt.Errorf("list the feeds: %w", err)
	}
	return ids, nil
}

// Look has the workers look whether what is stored of the feeds is what their indexes say.
func Look(ctx context.Context, js jetstream.JetStream, ids []string) error {
	flags := make([]reconcile.Flag, len(ids))
	for i, id := range ids {
		flags[i] = reconcile.Flag{Class: streams.Normal, Kind: FlagKind, Target: id, Key: Anew}
	}
	return reconcile.Raise(ctx, js, flags)
}

// eachIndex calls each with the indexes that the bucket holds.
func eachIndex(ctx context.Context, bucket jetstream.KeyValue, each func(jetstream.KeyValueEntry) error, o ...jetstream.WatchOpt) error {
	// A watch begins with the current values of all keys, and then says that it has.
	w, err := bucket.WatchAll(ctx, append(o, jetstream.IgnoreDeletes())...)
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case v, ok := <-w.Updates():
			if !ok {
				return fmt.Errorf("the watch ended before it had given all")
			}
			if v == nil {
				return nil
			}
			if strings.HasPrefix(v.Key(), note) {
				continue
			}
			if err := each(v); err != nil {
				return err
			}
		}
	}
}

// Sites is the ids of the sites whose articles the feeds that lack some may show; nil: of all.
func (ix *Indexes) Sites(l Lack) []string {
	if len(l.Kinds) > 0 || l.Archives {
		return nil
	}
	var ids []string
	for _, f := range l.Feeds {
		ids = append(ids, ix.catalog.sitesOf(f)...)
	}
	for _, heir := range l.Heirs {
		ids = append(ids, ix.catalog.lineage().of[heir]...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Has reports whether the feed is one of those that lack some.
func (l Lack) Has(c *Catalog, id string) bool {
	f, ok := c.Parse(id)
	return ok && (l.Archives && f.archived() || slices.Contains(l.Kinds, f.Kind) || slices.Contains(l.Feeds, f) || slices.Contains(l.Heirs, f.Site))
}
