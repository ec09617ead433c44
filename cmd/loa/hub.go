package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/websub"
	"github.com/loa-syndication/loa/workers/announcements"
	"github.com/loa-syndication/loa/workers/hub"
)

// hubs are the addresses of all WebSub hubs that feeds name: Loa's own first, and those elsewhere.
func hubs(cfg *config.Config) []string {
	if !cfg.Hub.Enabled {
		return cfg.Feeds.Hubs
	}
	return slices.Concat([]string{websub.TopicsOf(cfg.PublicURL).Hub()}, cfg.Feeds.Hubs)
}

// openHubs prepares what tells hubs of feeds that changed, and what knows the subscribers of Loa's
// own.
func (a *app) openHubs(ctx context.Context, sealing *secret.Keyring) (err error) {
	if a.cfg.Hub.Enabled && (a.runs(config.RoleHub) || a.runs(config.RoleGateway)) {
		if a.subscriptions, err = websub.Open(ctx, a.backbone.js, sealing, a.runs(config.RoleHub), a.log); err != nil {
			return err
		}
		a.closers = append(a.closers, a.subscriptions.Close)
	}
	if len(a.cfg.Feeds.Hubs) == 0 {
		return nil
	}
	// The hubs are the operator's choice, so they may have any address.
	anywhere := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	a.announcer, err = announcements.New(ctx, announcements.Options{JS: a.backbone.js, Objects: a.backbone.store, Hubs: a.cfg.Feeds.Hubs,
		PublicURL: a.cfg.PublicURL, Client: outbound.New(outbound.Options{Allow: anywhere}), Log: a.log})
	return err
}

// feedChanged flags all who are to be told that a feed's objects were stored.
func (a *app) feedChanged(ctx context.Context, feed string) error {
	var errs []error
	if a.cfg.Hub.Enabled {
		errs = append(errs, reconcile.Raise(ctx, a.backbone.js, []reconcile.Flag{websub.FeedFlag(feed)}))
	}
	if a.announcer != nil {
		errs = append(errs, a.announcer.Changed(ctx, feed))
	}
	return errors.Join(errs...)
}

func (a *app) prepareHub(ctx context.Context) error {
	if a.announcer != nil {
		e, err := reconcile.New(ctx, a.backbone.js, reconcile.Options{Kind: announcements.Kind, Reconciler: a.announcer, Limits: a.announcer.Limits,
			Grace: a.drain(), Instance: a.instance(), Log: a.log, Metrics: a.registry})
		if err != nil {
			return err
		}
		a.workers = append(a.workers, worker{"announcements", e.Run})
	}
	if a.subscriptions == nil {
		return nil
	}
	h := a.cfg.Hub
	w, err := hub.New(hub.Options{JS: a.backbone.js, Objects: a.backbone.store, Subscriptions: a.subscriptions, Topics: websub.TopicsOf(a.cfg.PublicURL),
		Caps: hubCaps(h), InFlight: h.InFlight, Rate: float64(h.Rate), Timeout: h.Timeout, Allow: h.Allow, Version: version(), Log: a.log, Metrics: a.registry})
	if err != nil {
		return err
	}
	a.closers = append(a.closers, w.Close)
	e, err := reconcile.New(ctx, a.backbone.js, reconcile.Options{Kind: websub.Kind, Reconciler: w, Limits: w.Limits, Workers: hub.Workers,
		Pauses: reconcile.Pauses{Key: hub.Retries()}, Grace: a.drain(), Instance: a.instance(), Log: a.log, Metrics: a.registry})
	if err != nil {
		return err
	}
	a.workers = append(a.workers, worker{"hub", e.Run})
	return nil
}

func hubCaps(h config.Hub) websub.Caps {
	return websub.Caps{Subscriptions: int(h.Subscriptions), PerHost: h.PerHost, PerAddress: int(h.PerAddress)}
}

// newHubEndpoint makes what answers at the hub's address.
func (a *app) newHubEndpoint() (*websub.Endpoint, error) {
	h := a.cfg.Hub
	return websub.NewEndpoint(websub.Options{JS: a.backbone.js, Registry: a.subscriptions, Objects: a.backbone.store, Topics: websub.TopicsOf(a.cfg.PublicURL),
		Leases: websub.Leases{Default: h.Lease, Min: h.LeaseMin, Max: h.LeaseMax}, Caps: hubCaps(h), SHA1For: h.SHA1For, Proxies: a.cfg.API.Proxies, Log: a.log, Metrics: a.registry})
}
