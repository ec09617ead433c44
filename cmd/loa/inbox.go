package main

import "github.com/loa-syndication/loa/internal/inbox"

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
