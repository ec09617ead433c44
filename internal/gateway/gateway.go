// Package gateway serves what Loa makes to readers over HTTP.
//
//	/feeds/<feed>/feed.rss|atom|json    feeds, from the object store through a small cache; other
//	                                    spellings, such as /feeds/<feed>.rss, lead there. Who has a
//	                                    former version is sent what is newer alone, if it asks to.
//	                                    A browser gets a page, in Vietnamese or English
//	/feeds/<feed>/archive/2026-11.atom  what a feed showed in former months
//	/opml/<site>.opml                   all feeds of a site, for a feed reader to import
//	/media/<sha256>/<file>              pictures, from the object store through a small cache, or
//	                                    by redirection; 410 once they are erased
//	/media/<sha256>/w640                the same without an ending: WebP or JPEG, as readers take it
//	/articles/<site>/<id>               an article as JSON, from the log; 410 once it is withdrawn
//	/                                   a page that lists sites and their feeds
//	/healthz  /readyz  /metrics         for those who run it
//
// It only reads, and holds no state but the caches; any number of gateways may run, and a CDN or
// proxy may stand before them. Whoever asks is a stranger: requests are limited in time, size
// and number, paths that are not exactly of the form above are unknown, and no header of a
// request ever gets into an address, all of which are made from the configured public one.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/net/netutil"

	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

const (
	// readTimeout is for a request's line and headers: those of a slow phone take one. Bodies are for
	// Mounts alone, which give them a time of their own: a second limit here would cost every
	// request a timer.
	readTimeout = 5 * time.Second
	// writeTimeout is for an answer; a feed of a megabyte takes 8 s at 1 Mbit/s.
	writeTimeout = 30 * time.Second
	// mediaTimeout is for a picture: 30 MiB take 4 min at 1 Mbit/s.
	mediaTimeout = 4 * time.Minute
	// idleTimeout is how long a connection may hold its place between two requests.
	idleTimeout = 30 * time.Second
	// maxHeader is the limit, in bytes, of a request's line and headers.
	maxHeader = 32 << 10
	// maxConns bounds the connections, and by it the requests under way: at some 40 KiB each,
	// 80 MiB. More wait in the kernel's queue.
	maxConns = 2048
	// maxUnderWay bounds the requests that are worked on, Mounts' not counted, which may wait for
	// long. Who comes when there are so many is told at once to come later; the connections left
	// over are for that.
	maxUnderWay = maxConns / 2
	// graceDefault is how long requests under way may take to end after a shutdown began.
	graceDefault = 10 * time.Second
	// retryAfter is what a reader is told, in seconds, when a store is away, and retryBusy when there
	// are too many others.
	retryAfter = "10"
	retryBusy  = "5"
)

// Objects is the object store. [*objects.Store] is one.
type Objects interface {
	Get(ctx context.Context, key string, maxBytes int64) (objects.Object, error)
	Stat(ctx context.Context, key string) (objects.Info, error)
	Reader(ctx context.Context, key string) (*objects.Reader, objects.Info, error)
}

// Articles is the log. [*streams.Log] is one.
type Articles interface {
	// Get gives the current version, or an error that is [streams.ErrNotFound].
	Get(ctx context.Context, key streams.Key, atLeast uint64) (streams.Entry, error)
}

// Kinds of feeds of which a site may have hundreds, as the index page tells them apart from others.
const (
	FeedOfCategory = "category"
	FeedOfTag      = "tag"
	FeedOfAuthor   = "author"
)

// FeedInfo describes a feed to the index page.
type FeedInfo struct {
	ID    string
	Title string
	Site  string // its id
	Kind  string // [FeedOfCategory], [FeedOfTag], [FeedOfAuthor], or another
}

// Check is the state of one thing that the process needs.
type Check struct {
	Name string
	Err  error // nil: it works
}

// Mount is who answers the requests below an address. It says itself which methods it takes, and
// may set other deadlines than the gateway's, by [http.ResponseController].
type Mount struct {
	// Prefix is what the path begins with, if it ends in a slash; else the whole path.
	Prefix  string
	Route   string // its name in metrics
	Handler http.Handler
}

// Options are what a [Gateway] works with. Objects, Sites and PublicURL are required.
type Options struct {
	Objects Objects
	// Articles are shown to everybody; nil: none are. With Brief, they are shown without their text.
	Articles Articles
	Brief    bool
	Sites    *site.Tree
	// Feeds lists the feeds that there are. It is asked every few seconds at most.
	Feeds func(context.Context) ([]FeedInfo, error)
	// PublicURL is how the world reaches the gateway; MediaURL is what object keys follow in
	// the addresses of pictures, PublicURL when empty.
	PublicURL, MediaURL string
	// MediaRedirect is what object keys follow in the addresses that readers are sent to who ask
	// for pictures: a public bucket, or a CDN before one. Empty: they are served.
	MediaRedirect string
	// Erased tells whether a picture, by its SHA-256, was erased; nil: none ever is.
	Erased func(ctx context.Context, picture string) (bool, error)
	// Successors gives the ids of feeds that may go on with one, of a site that others have succeeded;
	// nil: none ever does.
	Successors func(feed string) []string
	// Hubs are WebSub hubs that announce the feeds' changes.
	Hubs []string
	// Mounts are others that answer here, such as the partner API. Of several that fit a path, the
	// one with the longest prefix answers.
	Mounts []Mount
	// Ready tells whether the process can do its work; always, when nil.
	Ready func(context.Context) []Check
	// Gatherer is what /metrics shows; nil: there is no such page.
	Gatherer prometheus.Gatherer
	// Processors are those that there are, of which half are left to readers; as many as threads run Go
	// code when 0.
	Processors int
	Registerer prometheus.Registerer // nil: none
	// Grace is how long requests under way may take to end after Serve's context did; 10 s
	// when 0.
	Grace time.Duration
	Log   zerolog.Logger
}

// Gateway answers requests.
type Gateway struct {
	o       Options
	metrics *metrics
	feeds   *cache
	media   *cache
	index   indexPage
	opml    opmlPages
	ready   readiness
	scrape  http.Handler

	renewals chan string    // keys of feeds that changed
	encoding sync.WaitGroup // of variants that are being made
	encoders chan struct{}  // has one for each that is at work
	// pagePolicy lets a feed's page have the pictures that Loa has stored, beside what [pagePolicy] does.
	pagePolicy string
	underWay   atomic.Int64 // requests
	recorders  sync.Pool    // to be used again
}

// New makes a gateway.
func New(o Options) (*Gateway, error) {
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/") + "/"
	o.MediaURL = cmp.Or(o.MediaURL, o.PublicURL)
	o.Grace = cmp.Or(o.Grace, graceDefault)
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics of the gateway: %w", err)
	}
	processors := cmp.Or(o.Processors, runtime.GOMAXPROCS(0))
	g := &Gateway{o: o, metrics: m, scrape: scraper(o.Gatherer, o.Log),
		renewals: make(chan string, renewalsQueue), encoders: make(chan struct{}, max(1, processors/2)),
		recorders:  sync.Pool{New: func() any { return new(recorder) }},
		pagePolicy: pagePolicy + "; img-src " + pictureSources(o.MediaURL, o.MediaRedirect)}
	g.feeds = newCache(o.Objects, m.feeds, o.Log, cacheOptions{
		what: "feeds", make: g.feedVersion, limit: cacheBytes, most: maxFeed, fresh: freshFor})
	g.media = newCache(o.Objects, m.media, o.Log, cacheOptions{
		what: "pictures", make: pictureVersion, limit: mediaBytes, most: mediaMost, fresh: mediaFresh})
	return g, nil
}

// Handler answers all requests. [Gateway.Serve] sets the limits that go with it.
func (g *Gateway) Handler() http.Handler { return http.HandlerFunc(g.serve) }

// Serve answers requests on ln until the context ends, and then those still under way, within
// the grace period. It closes ln. The error is nil after an orderly end.
func (g *Gateway) Serve(ctx context.Context, ln net.Listener) error {
	srv := g.server()
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(netutil.LimitListener(ln, maxConns)) }()
	var others sync.WaitGroup
	stop := make(chan struct{})
	for range renewers {
		others.Go(func() { g.renew(stop) })
	}
	defer func() {
		close(stop)
		others.Wait()
		g.encoding.Wait()
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.o.Grace)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests were still under way after %s and were cut off: %w", g.o.Grace, err), srv.Close())
	}
	<-ended // http.ErrServerClosed
	return err
}

func (g *Gateway) server() *http.Server {
	return &http.Server{
		Handler:        g.Handler(),
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       log.New(serverLog{g.o.Log}, "", 0),
	}
}

// serverLog takes what net/http says about connections: mostly how strangers broke off.
type serverLog struct{ log zerolog.Logger }

func (l serverLog) Write(text []byte) (int, error) {
	l.log.Debug().Str("text", strings.TrimSpace(string(text))).Msg("http server")
	return len(text), nil
}
