package main

import (
	"context"

	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/inbox"
	"github.com/loa-syndication/loa/internal/keys"
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
	return []gateway.Mount{{Prefix: inbox.Path, Route: "events", Handler: events}}, nil
}

// newInbox makes what takes events over HTTP.
func (a *app) newInbox() (*inbox.Inbox, error) {
	o := inbox.Options{JS: a.backbone.js, Keys: a.keys, Sites: a.sites, Rate: float64(a.cfg.Intake.Rate), Log: a.log, Metrics: a.registry}
	for _, m := range a.cfg.Intake.CMSs {
		cms := inbox.CMS{Name: m.Name, Sites: m.Sites, Rate: float64(m.Rate)}
		for _, s := range m.Secrets {
			cms.Secrets = append(cms.Secrets, s.Reveal())
		}
		o.CMSs = append(o.CMSs, cms)
	}
	return inbox.New(o)
}
