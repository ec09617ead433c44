package feeds

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// reselect makes the index and the archives anew if they were made for another selection: the
// feed's filter has changed, or the sites under it. What was left out would learn of nothing any
// more. The index says so once all has been done: after a crash in between it is done again.
func (f *Feeds) reselect(ctx context.Context, feed Feed, h *held) error {
	selection := f.catalog.selection(feed)
	if h.Selection == selection {
		return nil
	}
	// An index that is older than selections are was of the same, but for a feed that is off.
	known := h.Selection == "" && h.stored != nil && feed.Kind == OfSubtree && selection != off
	if known || h.stored == nil && feed.Kind != OfCustom {
		return nil
	}
	if feed.archived() {
		if err := f.dropArchives(ctx, feed); err != nil {
			return err
		}
		h.Months, h.Archived = nil, nil
	}
	h.Refs, h.Floor = nil, nil
	if selection == off {
		h.Gone = nil
		return nil
	}
	if err := f.walk(ctx, feed, func(part []streams.Entry) { h.apply(f.changes(feed, part)) }); err != nil {
		return err
	}
	f.metrics.refills.Inc()
	f.events.Info().Str("target", feed.ID).Int("entries", len(h.Refs)).Msg("feed made anew for another selection")
	return nil
}

// dropArchives removes the feed's archives, and what is known of them.
func (f *Feeds) dropArchives(ctx context.Context, feed Feed) error {
	for o, err := range f.objects.List(ctx, feed.object(archivePrefix)) {
		if err == nil {
			err = f.objects.Delete(ctx, o.Key)
		}
		if err != nil {
			return fmt.Errorf("remove the archives of feed %s: %w", feed.ID, err)
		}
	}
	keys, err := f.archives.ListKeysFiltered(ctx, feed.ID+".>")
	if err != nil {
		return fmt.Errorf("list the archives of feed %s: %w", feed.ID, err)
	}
	defer keys.Stop()
	for key := range keys.Keys() {
		if err := f.archives.Delete(ctx, key); err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return fmt.Errorf("remove %s of the archives: %w", key, err)
		}
	}
	return nil
}
