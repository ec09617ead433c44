package feeds

import (
	"context"
	"errors"
	"slices"

	"github.com/loa-syndication/loa/internal/streams"
)

// want is an article, at a version known to exist or a later one.
type want struct {
	key     streams.Key
	atLeast uint64
}

// read gives the articles as the log holds them now, in parts, so that only some are in memory
// at once. One that is not there has no Article.
func (f *Feeds) read(ctx context.Context, wants []want, each func([]streams.Entry) error) error {
	for part := range slices.Chunk(wants, readAtOnce) {
		keys := make([]streams.Key, len(part))
		for i, w := range part {
			keys[i] = w.key
		}
		found, err := f.log.GetMany(ctx, keys)
		if err != nil {
			return err
		}
		entries := make([]streams.Entry, len(part))
		for i, w := range part {
			e, ok := found[w.key]
			if !ok || e.Seq < w.atLeast { // by a replica that lags, or never
				e, err = f.log.Get(ctx, w.key, max(w.atLeast, 1))
				if errors.Is(err, streams.ErrNotFound) {
					e, err = streams.Entry{Key: w.key, Seq: gone}, nil
				}
				if err != nil {
					return err
				}
			}
			entries[i] = e
		}
		if err := each(entries); err != nil {
			return err
		}
	}
	return nil
}

// take applies the articles to the index, and notes what archives have to follow. The index holds
// all afterwards: it is trimmed when they do.
func (f *Feeds) take(ctx context.Context, feed Feed, h *held, wants []want) error {
	return f.read(ctx, wants, func(entries []streams.Entry) error {
		changes := f.changes(feed, entries)
		if feed.archived() {
			h.note(changes)
		}
		h.apply(changes)
		return nil
	})
}

func (f *Feeds) changes(feed Feed, entries []streams.Entry) []change {
	changes := make([]change, len(entries))
	for i, e := range entries {
		changes[i] = f.catalog.change(feed, e)
	}
	return changes
}

func (f *Feeds) apply(feed Feed, h *held, entries []streams.Entry) {
	h.apply(f.changes(feed, entries))
	f.trim(feed, h)
}

// trim drops what the index has no room for, and what is over.
func (f *Feeds) trim(feed Feed, h *held) {
	h.trim(f.catalog.Page(feed) + reserve)
	h.next = h.forget(f.catalog.settings, h.now)
}

// view is what a feed shows, rendered: its entries in order, and the withdrawn articles that it
// remembers.
type view struct{ items, gone []*item }

// known gives what is to be shown as far as it is in memory, among what was loaded for it or that of
// all feeds, and what has to be read before it is whole.
func (f *Feeds) known(look look, loaded map[streams.Key]*item, refs []ref, gone []grave) (show view, wants []want) {
	pick := func(r ref) *item {
		it := loaded[r.Key]
		if it == nil || it.seq != r.Seq {
			it = f.items.get(itemKey{r.Key, look})
		}
		if it == nil || it.seq != r.Seq {
			wants = append(wants, want{r.Key, r.Seq})
		}
		return it
	}
	for _, r := range refs {
		show.items = append(show.items, pick(r))
	}
	for _, g := range gone {
		show.gone = append(show.gone, pick(g.ref))
	}
	return show, wants
}

// load gives the entries that the feed shows, rendered: from memory, or from the log. What it
// finds changed there again it applies to the index first, so that in the end both agree.
// Every article is read at most once.
func (f *Feeds) load(ctx context.Context, feed Feed, h *held) (view, error) {
	size, look := f.catalog.Page(feed), f.catalog.look(feed)
	loaded := map[streams.Key]*item{}
	refilled := false
	for {
		if h.short(size) && !refilled {
			if err := f.refill(ctx, feed, h); err != nil {
				return view{}, err
			}
			refilled = true
		}
		show, wants := f.known(look, loaded, h.shown(size), h.Gone)
		if len(wants) == 0 {
			return show, nil
		}
		err := f.read(ctx, wants, func(entries []streams.Entry) error {
			f.apply(feed, h, entries)
			for _, e := range entries {
				if e.Article == nil || e.Live() && !f.catalog.Matches(feed, e.Article) {
					continue // apply has removed it
				}
				it, err := f.catalog.item(look, e.Article, e.Seq)
				if err != nil {
					return err
				}
				loaded[e.Key] = it
				f.items.put(itemKey{e.Key, look}, it)
			}
			return nil
		})
		if err != nil {
			return view{}, err
		}
	}
}

// refill walks the log of the feed's sites for entries older than those that the index knows.
func (f *Feeds) refill(ctx context.Context, feed Feed, h *held) error {
	h.Floor = nil
	if err := f.walk(ctx, feed, func(part []streams.Entry) { f.apply(feed, h, part) }); err != nil {
		return err
	}
	f.metrics.refills.Inc()
	f.events.Info().Str("target", feed.ID).Int("entries", len(h.Refs)).Msg("feed refilled from the log")
	return nil
}

// walk gives the articles of the feed's sites as the log holds them, some at a time.
func (f *Feeds) walk(ctx context.Context, feed Feed, each func([]streams.Entry)) error {
	part := make([]streams.Entry, 0, readAtOnce)
	for _, site := range f.catalog.sitesOf(feed) {
		for e, err := range f.log.Walk(ctx, site, 0) {
			if err != nil {
				return err
			}
			if part = append(part, e); len(part) == cap(part) {
				each(part)
				part = part[:0]
			}
		}
	}
	each(part)
	return nil
}
