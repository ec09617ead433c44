package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/api"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/gateway"
	"github.com/loa-syndication/loa/internal/keys"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/internal/websub"
	"github.com/loa-syndication/loa/workers/announcements"
	"github.com/loa-syndication/loa/workers/bulletins"
	"github.com/loa-syndication/loa/workers/feeds"
	"github.com/loa-syndication/loa/workers/intake"
	"github.com/loa-syndication/loa/workers/media"
	"github.com/loa-syndication/loa/workers/media/picture"
	"github.com/loa-syndication/loa/workers/router"
)

// app is one process of Loa: the roles that its configuration names, on one backbone.
type app struct {
	cfg      *config.Config
	log      zerolog.Logger
	backbone *backbone
	registry *prometheus.Registry

	sites    *site.Tree
	articles *streams.Log
	portals  *portal.Registry
	keys     *keys.Registry // nil where nobody needs one
	receipts *portal.Receipts
	catalog  *feeds.Catalog
	feeds    *feeds.Feeds
	// announcer is nil where no hubs elsewhere are configured, subscriptions where Loa's own is off.
	announcer     *announcements.Announcer
	subscriptions *websub.Registry

	// workers run until their context ends, and finish what they have begun.
	workers  []worker
	gateway  *gateway.Gateway
	listener net.Listener
	closers  []func() // of what the roles opened
}

type worker struct {
	name string
	run  func(context.Context) error
}

// newApp starts the backbone and prepares the roles; nothing is worked on before [app.run].
func newApp(ctx context.Context, cfg *config.Config, log zerolog.Logger) (_ *app, err error) {
	a := &app{cfg: cfg, log: log, registry: prometheus.NewRegistry()}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.sites, err = siteTree(cfg.Sites); err != nil {
		return nil, err
	}
	if a.runs(config.RoleGateway) {
		if err := a.listen(); err != nil {
			return nil, err
		}
	}
	if a.backbone, err = startBackbone(ctx, cfg, log); err != nil {
		return nil, err
	}
	js := a.backbone.js
	a.registry.MustRegister(newWaitingMetrics(js))
	if a.articles, err = streams.OpenLog(ctx, js); err != nil {
		return nil, err
	}
	sealing, err := portalKeys(cfg, cfg.NATS.URL == "")
	if err != nil {
		return nil, err
	}
	if a.portals, err = portal.Open(ctx, js, a.sites, sealing, log); err != nil {
		return nil, err
	}
	if n, err := a.portals.Reseal(ctx); err != nil {
		return nil, err
	} else if n > 0 {
		log.Info().Int("portals", n).Msg("secrets of portals sealed anew")
	}
	if err := a.portals.Apply(ctx, configuredPortals(cfg.Portals), "configuration file"); err != nil {
		return nil, err
	}
	if a.catalog, err = feedCatalog(a.sites, cfg); err != nil {
		return nil, err
	}
	if err = a.openHubs(ctx, sealing); err != nil {
		return nil, err
	}
	if a.feeds, err = feeds.New(ctx, feeds.Options{JS: js, Objects: a.backbone.store, Catalog: a.catalog, Level: a.feedChanged, Log: log, Metrics: a.registry}); err != nil {
		return nil, err
	}
	if cfg.NATS.URL == "" {
		a.workers = append(a.workers, worker{"clock", a.watchClock})
	}
	for _, prepare := range []struct {
		role string
		do   func(context.Context) error
	}{
		{config.RoleIntake, a.prepareIntake},
		{config.RoleFeeds, a.prepareFeeds},
		{config.RoleBulletins, a.prepareBulletins},
		{config.RoleHub, a.prepareHub},
		{config.RoleGateway, a.prepareGateway},
	} {
		if a.runs(prepare.role) {
			if err := prepare.do(ctx); err != nil {
				return nil, fmt.Errorf("prepare %s: %w", prepare.role, err)
			}
		}
	}
	return a, nil
}

func (a *app) runs(role string) bool { return slices.Contains(a.cfg.Roles, role) }

func siteTree(sites []config.Site) (*site.Tree, error) {
	all := make([]site.Site, len(sites))
	for i, s := range sites {
		all[i] = s.Site()
	}
	return site.New(all)
}

func portalFilter(f config.Filter) portal.Filter {
	return portal.Filter{Sites: f.Sites, Categories: f.Categories, Tags: f.Tags,
		Urgency: f.Urgency, Languages: f.Languages, Since: f.SinceTime(), Not: portal.Exclusion(f.Not)}
}

func configuredPortals(portals []config.Portal) []portal.Portal {
	all := make([]portal.Portal, len(portals))
	for i, p := range portals {
		all[i] = portal.Portal{Name: p.Name, Title: p.Title, URL: p.URL,
			Format: p.Format, Content: p.Content,
			Filter:   portalFilter(p.Filter),
			InFlight: p.InFlight, Rate: float64(p.Rate), Timeout: p.Timeout, Allow: p.Allow, CA: p.CA}
		if p.Digest.At != "" {
			d := portal.Digest(p.Digest)
			all[i].Digest = &d
		}
		if c := p.ClientCertificate; c.Certificate != "" {
			all[i].Certificate = &portal.Certificate{Chain: c.Certificate, Key: portal.Secret(c.Key.Reveal())}
		}
		for _, s := range p.Secrets {
			all[i].Secrets = append(all[i].Secrets, portal.Secret(s.Reveal()))
		}
		if len(p.Headers) > 0 {
			all[i].Headers = map[string]portal.Secret{}
			for name, value := range p.Headers {
				all[i].Headers[name] = portal.Secret(value.Reveal())
			}
		}
		if p.Paused {
			all[i].Paused = &portal.Pause{By: "configuration file", Why: "paused: true", Since: time.Now().UTC()}
		}
	}
	return all
}

// listen takes the gateway's address. With port 0 the public address is known only now.
func (a *app) listen() (err error) {
	if a.listener, err = net.Listen("tcp", a.cfg.Listen); err != nil {
		return fmt.Errorf("gateway: %w; choose another address with --listen", err)
	}
	if _, port, err := net.SplitHostPort(a.cfg.Listen); err == nil && port == "0" {
		own := "http://" + a.listener.Addr().String() + "/"
		a.cfg.MediaURL = swapBase(a.cfg.MediaURL, a.cfg.PublicURL, own)
		a.cfg.PublicURL = own
	}
	return nil
}

// swapBase replaces an address that is, or lies under, a base.
func swapBase(address, base, by string) string {
	if rest, ok := strings.CutPrefix(address, base); ok {
		return by + rest
	}
	return address
}

func (a *app) prepareIntake(ctx context.Context) error {
	js := a.backbone.js
	index, err := js.KeyValue(ctx, streams.MediaBucket)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.MediaBucket, err)
	}
	options := pictureOptions(a.cfg)
	options.Objects, options.Index, options.Log, options.Registerer = a.backbone.store, index, a.log, a.registry
	options.Processors = a.backbone.processors
	if err := a.pictureSources(&options); err != nil {
		return err
	}
	pictures := media.New(options)
	a.closers = append(a.closers, pictures.Close)
	in, err := intake.New(ctx, intake.Options{JS: js, Sites: a.sites, Pictures: pictureStore{pictures}, Objects: a.backbone.store,
		PicturesDeadline: a.cfg.Limits.ImageDeadline, EraseAfter: a.cfg.Media.EraseAfter, Grace: a.drain(), Log: a.log, Metrics: a.registry})
	if err != nil {
		return err
	}
	eraser, err := media.NewEraser(ctx, media.EraserOptions{JS: js, Objects: a.backbone.store, Log: a.log, Registerer: a.registry})
	if err != nil {
		return err
	}
	rt, err := router.New(router.Options{JS: js, Log: a.log, Metrics: a.registry, Kinds: map[string]router.Concerned{
		"feed": func(_ context.Context, e streams.Entry) ([]string, error) {
			return a.catalog.Concerned(e.Article), nil
		},
		"portal": a.portals.Concerned,
	}, Own: func(kind, target string) bool { return kind == "portal" && a.portals.Waits(target) }})
	if err != nil {
		return err
	}
	a.workers = append(a.workers, worker{"intake", in.Run}, worker{"eraser", eraser.Run}, worker{"router", rt.Run})
	return nil
}

// pictureOptions are what the configuration says of pictures.
func pictureOptions(cfg *config.Config) media.Options {
	m, l := cfg.Media, cfg.Limits
	o := media.Options{
		Client: outbound.New(outbound.Options{Allow: m.Allow, MaxRedirects: pictureRedirects}),
		Forms:  picture.Forms{Widths: m.Widths}, PerHost: m.PerHost,
		Limits: picture.Limits{Pixels: int64(l.ImagePixels), Side: int(l.ImageSide), PixelBytes: int64(l.ImagePixelBytes),
			Memory: int64(l.ImageMemory), Frames: int(l.ImageFrames), Time: l.ImageTime},
		MaxBytes: int64(l.ImageBytes), MaxFile: int64(l.AttachmentBytes), Decoding: int64(l.DecodingMemory)}
	for _, f := range m.Formats {
		o.Forms.Formats = append(o.Forms.Formats, picture.Format("image/"+f))
	}
	for _, c := range m.Crops {
		o.Forms.Crops = append(o.Forms.Crops, picture.Crop(c))
	}
	return o
}

// pictureSources adds from where pictures come, and what reads those that Loa itself cannot.
func (a *app) pictureSources(o *media.Options) error {
	m := a.cfg.Media
	if m.VIPSThumbnail != "" {
		if o.Convert = picture.FindConverter(m.VIPSThumbnail); o.Convert == nil {
			a.log.Info().Str("program", m.VIPSThumbnail).Msg("not installed: HEIC and AVIF pictures will be refused")
		}
	}
	for _, c := range m.Credentials {
		site, err := url.Parse(c.Site)
		if err != nil {
			return fmt.Errorf("credentials for pictures: %w", err)
		}
		o.Credentials = append(o.Credentials, media.Credential{Site: site, User: c.User, Password: c.Password})
	}
	o.Buckets = map[string]media.Bucket{}
	for _, b := range m.Buckets {
		bucket, err := a.backbone.foreignBucket(b)
		if err != nil {
			return err
		}
		a.closers = append(a.closers, bucket.Close)
		o.Buckets[b.Name] = bucket
	}
	return nil
}

// pictureStore tells intake which of media's errors are permanent.
type pictureStore struct{ pictures *media.Store }

func (p pictureStore) Store(ctx context.Context, img events.Image) (article.Image, error) {
	return p.pictures.Store(ctx, img)
}

func (p pictureStore) StoreFile(ctx context.Context, at events.Attachment) (article.Attachment, error) {
	return p.pictures.StoreFile(ctx, at)
}

func (pictureStore) Permanent(err error) bool {
	var permanent *media.PermanentError
	return errors.As(err, &permanent)
}

// pictureRedirects is how many times the address of a picture may lead to another.
const pictureRedirects = 3

func (a *app) prepareFeeds(ctx context.Context) error {
	e, err := reconcile.New(ctx, a.backbone.js, reconcile.Options{Kind: "feed", Reconciler: a.feeds, Limits: a.feeds.Limits,
		Workers: feedWorkers, Grace: a.drain(), Instance: a.instance(), Log: a.log, Metrics: a.registry})
	if err != nil {
		return err
	}
	a.workers = append(a.workers, worker{"feeds", e.Run}, worker{"filling of new feeds", a.fillFeeds}, worker{"times of withdrawn articles", a.feeds.Times})
	return nil
}

const (
	// feedWorkers is how many feeds are rendered at once: half of the time goes into the
	// object store.
	feedWorkers = 8
	// portalWorkers is how many bulletins may be under way at once. Most of them may hang: 300
	// dead portals must not keep one that is well waiting. Where all are well, fewer leave processors
	// idle while receipts are synced, and with more it gets slower again.
	portalWorkers = 3072
)

func (a *app) prepareBulletins(ctx context.Context) error {
	var err error
	if a.receipts, err = portal.OpenReceipts(ctx, a.backbone.js); err != nil {
		return err
	}
	a.closers = append(a.closers, a.receipts.Close)
	b, err := bulletins.New(bulletins.Options{JS: a.backbone.js, Articles: a.articles, Portals: a.portals, Receipts: a.receipts, Tree: a.sites,
		MediaBase: a.cfg.MediaURL, Version: version(), Log: a.log, Metrics: a.registry})
	if err != nil {
		return err
	}
	a.closers = append(a.closers, b.Close)
	e, err := reconcile.New(ctx, a.backbone.js, reconcile.Options{Kind: "portal", Reconciler: b, Limits: b.Limits, Targets: a.portals.Names,
		Workers: portalWorkers, Grace: a.drain(), OnState: b.OnState, Restore: b.State, Gained: b.Gained, Instance: a.instance(), Log: a.log, Metrics: a.registry})
	if err != nil {
		return err
	}
	a.portals.OnChange(func(name string) {
		if p, ok := a.portals.Get(name); !ok || p.Paused == nil {
			go e.Wake(name) // what waited while it was paused, or could not be reached as it was; or is to be dropped
		}
	})
	a.workers = append(a.workers, worker{"bulletins", e.Run}, worker{"digests", b.Times},
		worker{"janitor of receipts", portal.NewJanitor(a.backbone.js, a.receipts, a.portals, a.log).Run})
	return nil
}

// instance names the one process that runs the embedded NATS server: another worker of that name
// in the roster is one that was killed.
func (a *app) instance() string {
	if a.cfg.NATS.URL != "" {
		return ""
	}
	return "embedded"
}

// drain is the part of the grace period that the workers have to finish what they began.
func (a *app) drain() time.Duration { return a.cfg.Grace * 3 / 4 }

func (a *app) prepareGateway(ctx context.Context) error {
	uses, err := streams.OpenUses(ctx, a.backbone.js)
	if err != nil {
		return err
	}
	mounts, err := a.mounts(ctx)
	if err != nil {
		return err
	}
	var articles gateway.Articles
	if a.cfg.API.Public != api.PublicNone {
		articles = a.articles
	}
	a.gateway, err = gateway.New(gateway.Options{Objects: a.backbone.store, Articles: articles, Brief: a.cfg.API.Public != api.PublicFull, Sites: a.sites, Feeds: a.feedList,
		PublicURL: a.cfg.PublicURL, MediaURL: a.cfg.MediaURL, MediaRedirect: a.cfg.Media.Redirect, Erased: uses.Gone, Successors: a.successors(), Hubs: hubs(a.cfg), Ready: a.ready, Mounts: mounts,
		Gatherer: a.registry, Registerer: a.registry, Processors: a.backbone.processors, Grace: a.drain(), Log: a.log})
	if err != nil {
		return err
	}
	return a.listenForChanges()
}

// successors tells the gateway which feeds go on with others; nil: no site is ever succeeded.
func (a *app) successors() func(feed string) []string {
	if !slices.ContainsFunc(a.sites.All(), func(s site.Site) bool { return len(s.Successors) > 0 }) {
		return nil
	}
	return a.catalog.Successors
}

// feedList describes the feeds to the gateway, which does not know the worker that makes them.
func (a *app) feedList(ctx context.Context) ([]gateway.FeedInfo, error) {
	list, err := a.feeds.List(ctx)
	infos := make([]gateway.FeedInfo, len(list))
	for i, f := range list {
		infos[i] = gateway.FeedInfo{ID: f.ID, Title: f.Title, Site: f.Site, Kind: string(f.Kind)}
	}
	return infos, err
}

// readyTimeout bounds the checks of one answer to /readyz.
const readyTimeout = 3 * time.Second

// ready tells whether the process can do its work.
func (a *app) ready(ctx context.Context) []gateway.Check {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	_, natsErr := a.backbone.js.AccountInfo(ctx)
	_, s3Err := a.backbone.store.Stat(ctx, "ready")
	if errors.Is(s3Err, objects.ErrNotFound) {
		s3Err = nil // it answers
	}
	return []gateway.Check{{Name: "nats", Err: natsErr}, {Name: "s3", Err: s3Err}}
}

// run works until ctx ends, then finishes within the grace period what was begun.
func (a *app) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range a.workers {
		group.Go(func() error {
			err := w.run(ctx)
			if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) { // told to end while it began
				return nil
			}
			return fmt.Errorf("%s: %w", w.name, err)
		})
	}
	if a.gateway != nil {
		group.Go(func() error { return a.gateway.Serve(ctx, a.listener) })
	}
	group.Go(func() error { <-ctx.Done(); return nil }) // a process without roles waits too
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	<-ctx.Done()
	select {
	case err := <-done:
		return err
	case <-time.After(a.cfg.Grace):
		// What is still under way was not acknowledged, and comes again.
		return fmt.Errorf("not everything ended within the grace period of %s; nothing is lost", a.cfg.Grace)
	}
}

// close takes everything down, last first.
func (a *app) close() {
	for i := len(a.closers) - 1; i >= 0; i-- {
		a.closers[i]()
	}
	if a.portals != nil {
		a.portals.Close()
	}
	if a.backbone != nil {
		a.backbone.close()
	}
	if a.listener != nil {
		a.listener.Close() // closed already, as a rule
	}
}
