package main

import (
	"context"

	"github.com/loa-syndication/loa/internal/api"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/inbox"
	"github.com/loa-syndication/loa/internal/keys"
	"github.com/loa-syndication/loa/internal/listing"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

// mounts are those that answer at the gateway's addresses beside itself.
func (a *app) mounts(ctx context.Context) ([]gateway.Mount, error) {
	var err error
	if a.keys, err = keys.Open(ctx, a.backbone.js, a.log); err != nil {
		return nil, err
	}
	a.closers = append(a.closers, a.keys.Close)
	events, err := a.newInbox()
	if err != nil {
		return nil, err
	}
	partners, err := a.newAPI()
	if err != nil {
		return nil, err
	}
	a.workers = append(a.workers, worker{"api", partners.Run})
	mounts := append(partners.Mounts(), gateway.Mount{Prefix: inbox.Path, Route: "events", Handler: events})
	if a.subscriptions != nil {
		subscribers, err := a.newHubEndpoint()
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, gateway.Mount{Prefix: "/hub", Route: "hub", Handler: subscribers})
	}
	return mounts, nil
}

// newAPI makes the partner API.
func (a *app) newAPI() (*api.API, error) {
	former := func(ctx context.Context, current streams.Entry) ([]*article.Article, error) {
		return intake.Former(ctx, a.backbone.js, current)
	}
	c := a.cfg.API
	return api.New(api.Options{Articles: a.articles, Index: listing.New(a.backbone.js, a.log), Keys: a.keys, Sites: a.sites,
		Feeds: a.feedList, Former: former, PublicURL: a.cfg.PublicURL, MediaURL: a.cfg.MediaURL,
		Public: c.Public, Rate: float64(c.Rate), PublicRate: float64(c.PublicRate), Proxies: c.Proxies, Registerer: a.registry, Log: a.log})
}
