package feeds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// Indexes reads the feeds' indexes, and compares them with articles; it changes nothing.
type Indexes struct {
	js      jetstream.JetStream
	catalog *Catalog
}

// NewIndexes looks at the indexes of a catalog's feeds.
func NewIndexes(js jetstream.JetStream, c *Catalog) *Indexes { return &Indexes{js, c} }

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
					if level, err = archives.agree(ctx, h, c); err != nil {
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
	if c.shown == nil || ix.Floor != nil && c.shown.compare(*ix.Floor) >= 0 {
		return !known
	}
	return known && have.Seq >= c.seq
}

// agree reports whether the archives follow the change; the others are only read.
func (a *archiving) agree(ctx context.Context, ix *index, c change) (bool, error) {
	page := a.f.catalog.Page(a.feed)
	must := c.shown != nil &&
		(!ix.above(c.shown.place) || ix.below(c.shown.place) || len(ix.Refs) > page && c.shown.compare(ix.Refs[page].place) >= 0)
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
			p.Form != a.f.catalog.form(a.feed) {
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

// galleriesFilled is a key beside the indexes, and no feed's id. Where it is missing, the log may be
// older than galleries are, and hold pictures that none of them was told of.
const galleriesFilled = "filled.galleries"

// archivesFilled is such a key, too: where it is missing, indexes may have dropped articles before
// there were archives to put them into.
const archivesFilled = "filled.archives"

// ArchivesLack reports whether all feeds have to be compared for the sake of their archives.
func (ix *Indexes) ArchivesLack(ctx context.Context) (bool, error) {
	_, filled, err := streams.LatestValue(ctx, ix.js, streams.FeedsBucket, archivesFilled)
	if err != nil {
		return false, fmt.Errorf("look up whether archives were filled: %w", err)
	}
	return filled == 0, nil
}

// Lacking gives the feeds of sites and subtrees that have no entries although the log holds
// articles for them: those of sites that came into the tree above articles which were there
// already. Nothing else would fill them but new articles. Until [Indexes.Filled], it gives
// galleries too; afterwards, one without entries is that of a site without pictures.
func (ix *Indexes) Lacking(ctx context.Context) ([]Feed, error) {
	_, galleries, err := streams.LatestValue(ctx, ix.js, streams.FeedsBucket, galleriesFilled)
	if err != nil {
		return nil, fmt.Errorf("look up whether galleries were filled: %w", err)
	}
	var ids []string
	for _, s := range ix.catalog.tree.All() {
		ids = append(ids, s.ID, s.ID+separator+ofAll)
		if galleries == 0 {
			ids = append(ids, s.ID+separator+ofGallery)
		}
	}
	log, err := ix.js.Stream(ctx, streams.Articles)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	var lacking []Feed
	published := map[string]bool{} // by the site's id
	for part := range slices.Chunk(ids, indexesAtOnce) {
		found, err := ix.read(ctx, part)
		if err != nil {
			return nil, err
		}
		for _, id := range part {
			feed, ok := ix.catalog.Parse(id)
			if !ok || len(found[id].Refs) > 0 {
				continue
			}
			for _, site := range ix.catalog.sitesOf(feed) {
				has, known := published[site]
				if !known {
					info, err := log.Info(ctx, jetstream.WithSubjectFilter(streams.ArticlesOf(site)))
					if err != nil {
						return nil, fmt.Errorf("look up whether site %s has articles: %w", site, err)
					}
					has = len(info.State.Subjects) > 0
					published[site] = has
				}
				if has {
					lacking = append(lacking, feed)
					break
				}
			}
		}
	}
	return lacking, nil
}

// Filled notes that what the feeds lacked has been flagged.
func (ix *Indexes) Filled(ctx context.Context) error {
	bucket, err := ix.js.KeyValue(ctx, streams.FeedsBucket)
	for _, key := range []string{galleriesFilled, archivesFilled} {
		if err == nil {
			_, err = bucket.Create(ctx, key, nil)
		}
		if errors.Is(err, jetstream.ErrKeyExists) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("note that feeds were filled: %w", err)
	}
	return nil
}

// Sites is the ids of the sites whose articles the feed may show.
func (ix *Indexes) Sites(f Feed) []string { return ix.catalog.sitesOf(f) }
