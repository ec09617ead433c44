package main

import (
	"context"
	"time"

	"github.com/loa-syndication/loa/internal/reach"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/feeds"
)

// fillRetry is the pause before another attempt to fill feeds.
const fillRetry = 10 * time.Second

// fillFeeds flags the feeds that came into the configuration, or into Loa, after the articles that
// they are to show, and those whose archives did: the router looks at new versions only. It is done once, at the start, since the sites do
// not change while Loa runs; where no feed is empty it costs a look at the indexes.
func (a *app) fillFeeds(ctx context.Context) error {
	for {
		err := a.fillFeedsOnce(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		a.log.Warn().Err(err).Dur("next", fillRetry).Msg("new feeds not filled, will be retried")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(fillRetry):
		}
	}
}

func (a *app) fillFeedsOnce(ctx context.Context) error {
	indexes := feeds.NewIndexes(a.backbone.js, a.catalog)
	lacking, err := indexes.Lacking(ctx)
	if err != nil {
		return err
	}
	all, err := indexes.ArchivesLack(ctx)
	if err != nil {
		return err
	}
	if len(lacking) == 0 && !all {
		return indexes.Filled(ctx)
	}
	wanted, seen := map[string]bool{}, map[string]bool{}
	var sites []string
	for _, f := range lacking {
		wanted[f.ID] = true
		for _, s := range indexes.Sites(f) {
			if !seen[s] {
				seen[s] = true
				sites = append(sites, s)
			}
		}
	}
	src := reach.Sources{JS: a.backbone.js, Log: a.articles}
	o := reach.ResyncOptions{NoPortals: true, Feeds: indexes, Sites: sites, Only: func(feed string) bool { return wanted[feed] }}
	if all {
		o.Sites, o.Only = nil, nil
	}
	r, err := src.Resync(ctx, o)
	if err != nil {
		return err
	}
	if raised := reach.Total(r.Feeds).Raised; raised > 0 {
		a.log.Info().Int("feeds", len(r.Feeds)).Int("flags", raised).Str("stream", streams.Flags).Msg("new feeds are being filled from the log")
	}
	return indexes.Filled(ctx)
}
