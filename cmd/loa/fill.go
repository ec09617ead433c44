package main

import (
	"context"
	"slices"
	"time"

	"github.com/loa-syndication/loa/internal/reach"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/feeds"
)

// fillRetry is the pause before another attempt to fill feeds.
const fillRetry = 10 * time.Second

// fillFeeds flags the feeds that the configuration has otherwise than they were made, and those that
// came into it, or into Loa, after the articles that they are to show or to archive: the router looks
// at new versions only. It is done at the start, since the configuration does not change while Loa runs,
// and again on a day on which a site is succeeded; where nothing is to be done it costs a look at the indexes.
func (a *app) fillFeeds(ctx context.Context) error {
	for {
		began := time.Now()
		err := a.fillFeedsOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := fillRetry
		if err != nil {
			a.log.Warn().Err(err).Dur("next", fillRetry).Msg("new feeds not filled, will be retried")
		} else if wait = a.untilSuccession(began); wait == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// successionCheck is how long at most is waited for a day to come, by a clock that may be set.
const successionCheck = time.Hour

// untilSuccession is how long to wait until another site is succeeded; 0: none will be.
func (a *app) untilSuccession(after time.Time) time.Duration {
	next := a.sites.NextSuccession(after)
	if next.IsZero() {
		return 0
	}
	return min(max(time.Until(next), time.Second), successionCheck)
}

func (a *app) fillFeedsOnce(ctx context.Context) error {
	indexes := feeds.NewIndexes(a.backbone.js, a.catalog)
	indexes.Configured = true
	outdated, err := indexes.Outdated(ctx)
	if err != nil {
		return err
	}
	if err := feeds.Look(ctx, a.backbone.js, outdated); err != nil {
		return err
	}
	if len(outdated) > 0 {
		a.log.Info().Int("feeds", len(outdated)).Msg("feeds are being made as the configuration has them now")
	}
	lack, err := indexes.Lacking(ctx)
	if err != nil {
		return err
	}
	if lack.Nothing() && len(outdated) == 0 {
		return indexes.Filled(ctx)
	}
	sites := indexes.Sites(lack)
	if len(outdated) > 0 { // whose archives are made anew, too
		sites = nil
	}
	src := reach.Sources{JS: a.backbone.js, Log: a.articles}
	r, err := src.Resync(ctx, reach.ResyncOptions{NoPortals: true, Feeds: indexes, Sites: sites,
		Only: func(feed string) bool { return lack.Has(a.catalog, feed) || slices.Contains(outdated, feed) }})
	if err != nil {
		return err
	}
	if raised := reach.Total(r.Feeds).Raised; raised > 0 {
		a.log.Info().Int("feeds", len(r.Feeds)).Int("flags", raised).Str("stream", streams.Flags).Msg("feeds and archives are being filled from the log")
	}
	return indexes.Filled(ctx)
}
